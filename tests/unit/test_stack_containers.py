"""Tests of the values that containers get: complete for the settings file and for the compose file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from include.core.errors import SettingsError
from include.core.repository import REPOSITORY
from include.core.settings import Settings
from include.stack.containers import write_compose_env
from include.stack.envfile import parse_env
from include.stack.environment import SETTINGS_FILE
from include.stack.mlflow_login import write_login_settings
from include.stack.secrets import NEEDED_BY, generate_secrets

COMPOSE = REPOSITORY / "docker" / "compose.yaml"


@pytest.fixture
def compose_env(tmp_path: Path) -> dict[str, str]:
    write_compose_env(tmp_path / ".env")
    return parse_env((tmp_path / ".env").read_text(), ".env")


def test_the_settings_file_is_filled_in_completely(compose_env: dict[str, str]) -> None:
    environ = parse_env(SETTINGS_FILE.read_text(), "airflow.env", compose_env)
    settings = Settings.from_environ(environ)
    assert settings.mlflow_tracking_uri == "http://mlflow:5000"
    password = compose_env["LIFECYCLE_DB_PASSWORD"]
    assert settings.optuna_storage == f"postgresql+psycopg2://lifecycle:{password}@postgres:5432/optuna"


def test_every_value_that_compose_requires_is_written(compose_env: dict[str, str]) -> None:
    required = re.findall(r"\$\{(\w+):\?", COMPOSE.read_text())
    assert required
    assert set(required) <= set(compose_env)


def test_every_port_is_published_to_this_machine_only() -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert len(published) == 2
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_each_container_gets_only_the_secrets_that_it_needs() -> None:
    every = {*generate_secrets(), *(name for names in NEEDED_BY.values() for name in names)}
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    for part, needed in NEEDED_BY.items():
        assert set(services[part]["environment"]) & every == needed, part


def test_compose_secrets_are_private_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    write_compose_env(path)
    before = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(SettingsError, match="belong to stored data"):
        write_compose_env(path)
    assert path.read_text() == before


def test_mlflow_keeps_its_users_in_a_database_of_their_own(tmp_path: Path) -> None:
    environ = {
        "MLFLOW_BACKEND_STORE_URI": "postgresql+psycopg2://mlflow:a%40b@mlflow/mlflow?host=/run/mlflow",
        "MLFLOW_TRACKING_USERNAME": "admin",
        "MLFLOW_TRACKING_PASSWORD": "p",
    }
    more = write_login_settings(tmp_path / "auth.ini", environ)
    assert more == {"MLFLOW_AUTH_CONFIG_PATH": f"{tmp_path}/auth.ini", "MLFLOW_AUTH_ADMIN_PASSWORD": "p"}
    text = (tmp_path / "auth.ini").read_text()
    assert "database_uri = postgresql+psycopg2://mlflow:a%%40b@mlflow/mlflow_auth?host=/run/mlflow\n" in text
