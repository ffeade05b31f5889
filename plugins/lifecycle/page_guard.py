"""A guard in front of all that Airflow's API server answers: which host names it answers to, what its pages may do.

Airflow itself answers to every host name and sends no policy with its pages. This guard is registered as a root
middleware, so it also covers the routes of plugins and the API of tasks.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from include.core.errors import SettingsError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

ALLOWED_HOSTS, PAGE_POLICY = "LIFECYCLE_ALLOWED_HOSTS", "LIFECYCLE_PAGE_POLICY"
_ADDRESSES = (("api", "base_url"), ("core", "execution_api_server_url"))


def guard(app: ASGIApp) -> ASGIApp:
    """Wrap ``app``: requests for another host are answered with 400, and every answer carries the headers."""
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    hosts = allowed_hosts()
    return SafeHeaders(TrustedHostMiddleware(app, hosts, www_redirect=False), os.environ.get(PAGE_POLICY, ""))


def allowed_hosts() -> list[str]:
    """Return the host names of ``LIFECYCLE_ALLOWED_HOSTS`` and of Airflow's own two addresses.

    Raises:
        SettingsError: the variable is not set, so that the server would answer to nobody.
    """
    from airflow.configuration import conf

    if not os.environ.get(ALLOWED_HOSTS, "").strip():
        raise SettingsError(f"{ALLOWED_HOSTS} is not set; see docker/airflow.env for what it means")
    given = [host.strip() for host in os.environ[ALLOWED_HOSTS].split(",")]
    own = [urlsplit(conf.get(section, key, fallback="")).hostname for section, key in _ADDRESSES]
    return sorted({host for host in (*given, *own) if host})


class SafeHeaders:
    """Add security headers to each answer; a header that the route has set itself stays.

    So a report may be sent with a stricter policy, such as ``sandbox allow-scripts``.
    """

    def __init__(self, app: ASGIApp, policy: str) -> None:
        """Wrap ``app``; ``policy`` is the Content-Security-Policy, empty for none."""
        self._app = app
        headers = {
            "x-frame-options": "SAMEORIGIN",
            "x-content-type-options": "nosniff",
            "referrer-policy": "same-origin",
            "content-security-policy": policy,
        }
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items() if value]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                names = {name.lower() for name, _ in given}
                message["headers"] = given + [header for header in self._headers if header[0] not in names]
            await send(message)

        await self._app(scope, receive, with_headers)
