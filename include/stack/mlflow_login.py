"""The settings of MLflow's login, which its server reads from a file only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from include.stack.secrets import write_private


def write_login_settings(path: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Write ``path`` for the users' database beside the tracking database.

    Returns:
        What the server needs in its environment besides: where the file is, and the first password of
        its ``admin``.
    """
    address = urlsplit(environ["MLFLOW_BACKEND_STORE_URI"])
    users = urlunsplit(address._replace(path="/mlflow_auth"))
    lines = (
        "[mlflow]",
        "default_permission = READ",
        # configparser takes a single % for the beginning of a reference
        f"database_uri = {users}".replace("%", "%%"),
        f"admin_username = {environ['MLFLOW_TRACKING_USERNAME']}",
        # without it the password is hashed some 600,000 times for each of a task's calls
        "auth_cache_ttl_seconds = 60",
    )
    write_private(path, "\n".join(lines) + "\n")
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(path),
        "MLFLOW_AUTH_ADMIN_PASSWORD": environ["MLFLOW_TRACKING_PASSWORD"],
    }
