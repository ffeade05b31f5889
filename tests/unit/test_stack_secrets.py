"""Tests of the secrets: generated once, private, never changed."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from include.core.errors import SettingsError
from include.stack.layout import Layout
from include.stack.secrets import generate_secrets, load_or_create_secrets, only_needed, write_airflow_passwords
from include.stack.services import services_of


def test_created_once_private_and_stable(tmp_path: Path) -> None:
    path = tmp_path / "secrets.env"
    first, created = load_or_create_secrets(path)
    second, again = load_or_create_secrets(path)
    assert (created, again) == (True, False)
    assert first == second
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(base64.urlsafe_b64decode(first["AIRFLOW__CORE__FERNET_KEY"])) == 32
    assert len(set(first.values())) == len(first)


def test_a_secret_that_an_older_file_lacks_is_added(tmp_path: Path) -> None:
    path = tmp_path / "secrets.env"
    path.touch(mode=0o600)
    path.write_text("AIRFLOW__CORE__FERNET_KEY=kept\n")
    secrets, created = load_or_create_secrets(path)
    assert not created
    assert secrets["AIRFLOW__CORE__FERNET_KEY"] == "kept"
    assert load_or_create_secrets(path)[0] == secrets
    assert secrets["MLFLOW_TRACKING_PASSWORD"]


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secrets.env"
    load_or_create_secrets(path)
    path.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        load_or_create_secrets(path)


def test_airflow_gets_our_passwords_privately(tmp_path: Path) -> None:
    path = tmp_path / "airflow" / "passwords.json"
    write_airflow_passwords(path, {"LIFECYCLE_ADMIN_PASSWORD": "a", "LIFECYCLE_VIEWER_PASSWORD": "v"})
    assert json.loads(path.read_text()) == {"admin": "a", "viewer": "v"}
    assert path.stat().st_mode & 0o777 == 0o600


def test_each_service_gets_only_the_secrets_that_it_needs(tmp_path: Path) -> None:
    """MLflow's server and the DAG processor had the keys that sign tokens and sessions."""
    environ = generate_secrets() | {"MLFLOW_AUTH_ADMIN_PASSWORD": "p", "AIRFLOW_HOME": "/home"}
    given = {service.name: only_needed(service.name, environ) for service in services_of(Layout(tmp_path))}
    holders = {name: {part for part, values in given.items() if name in values} for name in environ}
    assert holders == {
        "AIRFLOW_HOME": set(given),
        "AIRFLOW__API_AUTH__JWT_SECRET": {"api-server", "scheduler"},
        "AIRFLOW__API__SECRET_KEY": {"api-server"},
        "AIRFLOW__CORE__FERNET_KEY": {"api-server", "scheduler", "dag-processor", "triggerer"},
        "MLFLOW_FLASK_SERVER_SECRET_KEY": {"mlflow"},
        "MLFLOW_AUTH_ADMIN_PASSWORD": {"mlflow"},
        "MLFLOW_TRACKING_PASSWORD": {"scheduler"},
        "LIFECYCLE_ADMIN_PASSWORD": set(),
        "LIFECYCLE_VIEWER_PASSWORD": set(),
    }
