"""Without a login no route of Airflow's API server answers, whoever added it: Airflow, its login, a plugin."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from include.core.errors import SettingsError
from include.stack.envfile import parse_env
from include.stack.environment import SETTINGS_FILE
from include.stack.secrets import generate_secrets
from tests.dags import airflow_home

airflow_home.prepare()

from starlette.responses import Response  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402

from lifecycle import page_guard  # noqa: E402
from tests.security.api_routes import Route, routes_of  # noqa: E402

SHELL, LOGIN = "a page of the UI without data; it shows the login", "it is the login"
SCHEMA, GONE = "a description of Airflow, the same everywhere", "an error page of Airflow"
OPEN = {
    "GET /{rest_of_path:path}": SHELL,
    "GET /auth/{rest_of_path:path}": SHELL,
    "POST /auth/token": LOGIN,
    "POST /auth/token/cli": LOGIN,
    "GET /api/v2/auth/login": LOGIN,
    "GET /api/v2/auth/logout": LOGIN,
    "GET /openapi.json": SCHEMA,
    "GET /auth/openapi.json": SCHEMA,
    # these pages would load scripts from another host: the policy of pages forbids it, and they stay empty
    **dict.fromkeys((f"GET /auth/{name}" for name in ("docs", "docs/oauth2-redirect", "redoc")), SCHEMA),
    **dict.fromkeys((f"GET /execution/{name}" for name in ("docs", "docs/oauth2-redirect", "redoc")), SCHEMA),
    "GET /execution/health": "whether the API of tasks is alive",
    "GET /execution/health/ping": "whether the API of tasks is alive",
    "GET /execution/changelog": SCHEMA,
    "GET /execution/openapi.json": SCHEMA,
    "GET /api/v2/version": SCHEMA,
    "GET /api/v2/monitor/health": "whether each part is alive, for monitoring",
    "GET /health": GONE,
    "GET /api/v1/{_:path}": GONE,
    "GET /api/{_:path}": GONE,
}
"""Every route that answers without a login, and why it may."""


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    from airflow.api_fastapi.app import create_app

    settings = parse_env(SETTINGS_FILE.read_text(encoding="utf-8"), str(SETTINGS_FILE))
    names = (page_guard.ALLOWED_HOSTS, page_guard.PAGE_POLICY, "AIRFLOW__API__ENABLE_SWAGGER_UI")
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setenv(name, settings[name])
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", generate_secrets()["AIRFLOW__API_AUTH__JWT_SECRET"])
        with TestClient(create_app(), base_url="http://localhost", follow_redirects=False) as made:
            # the first request makes the routes of the API of tasks
            made.get("/execution/health")
            yield made


@pytest.fixture(scope="module")
def answers(client: TestClient) -> dict[Route, httpx.Response]:
    found = dict.fromkeys(routes_of(client.app))
    return {route: client.request(route.method, route.filled(), json=body(route)) for route in found}


def body(route: Route) -> object:
    return None if route.method == "GET" else {}


def test_every_other_route_asks_for_a_login(answers: dict[Route, httpx.Response]) -> None:
    asked = {f"{route.method} {route.path}" for route, answer in answers.items() if answer.status_code in (401, 403)}
    assert len(asked) >= 150
    for part in ("/api/v2/dags", "/ui/grid", "/execution/task-instances"):
        assert any(part in name for name in asked), f"routes below {part} were found"
    assert {f"{route.method} {route.path}" for route in answers} - asked == set(OPEN)


def test_every_answer_has_the_headers(answers: dict[Route, httpx.Response], client: TestClient) -> None:
    """Neither Airflow nor the simple auth manager sends them."""
    lacking = {
        f"{route.method} {route.path}": name
        for route, answer in answers.items()
        for name in ("x-frame-options", "x-content-type-options", "content-security-policy", "referrer-policy")
        if name not in answer.headers
    }
    assert lacking == {}
    policy = client.get("/").headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'self';" in policy


@pytest.mark.parametrize("path", ["/", "/api/v2/version", "/auth/login", "/execution/health", "/static/pin_32.png"])
@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::1]"])
def test_a_foreign_host_name_is_refused(client: TestClient, path: str, host: str) -> None:
    """A page of another site that has its name point to this machine would otherwise reach every route."""
    assert client.get(path, headers={"host": host}).status_code == 400
    assert client.get(path, headers={"host": "localhost:1234"}).status_code != 400


def test_a_route_keeps_a_stricter_policy_of_its_own() -> None:
    async def report(scope: object, receive: object, send: object) -> None:
        headers = {"content-security-policy": "sandbox allow-scripts"}
        await Response("page", headers=headers)(scope, receive, send)  # type: ignore[arg-type]

    answer = TestClient(page_guard.SafeHeaders(report, "default-src 'self'")).get("/")
    assert answer.headers["content-security-policy"] == "sandbox allow-scripts"
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"


def test_without_allowed_hosts_the_server_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(page_guard.ALLOWED_HOSTS, raising=False)
    with pytest.raises(SettingsError, match=r"LIFECYCLE_ALLOWED_HOSTS is not set; see docker/airflow\.env"):
        page_guard.guard(TestClient)
