"""The settings file of MLflow's login; MLflow's server reads these settings from nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from include.core.files import write_private


def write_login_settings(path: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Write the login settings to ``path``; users live in a database beside the tracking database.

    Returns:
        Variables that the server also needs: the path of the file and the first password of its ``admin``.
    """
    address = urlsplit(environ["MLFLOW_BACKEND_STORE_URI"])
    users = urlunsplit(address._replace(path="/mlflow_auth"))
    lines = (
        "[mlflow]",
        "default_permission = READ",
        # configparser reads a single % as the start of a reference
        f"database_uri = {users}".replace("%", "%%"),
        f"admin_username = {environ['MLFLOW_TRACKING_USERNAME']}",
        # without the cache the server hashes the password about 600,000 times for each call of a task
        "auth_cache_ttl_seconds = 60",
    )
    write_private(path, "\n".join(lines) + "\n")
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(path),
        "MLFLOW_AUTH_ADMIN_PASSWORD": environ["MLFLOW_TRACKING_PASSWORD"],
    }
