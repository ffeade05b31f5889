"""The stack's secrets: generated once, stored in one file that only its owner can read."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

from include.core.errors import SettingsError
from include.core.files import write_private
from include.stack.envfile import parse_env

_GENERATORS: dict[str, Callable[[], str]] = {
    # signs the tokens of users and of tasks
    "AIRFLOW__API_AUTH__JWT_SECRET": lambda: secrets.token_urlsafe(48),
    # signs the sessions of Airflow's UI
    "AIRFLOW__API__SECRET_KEY": lambda: secrets.token_urlsafe(48),
    # encrypts connections and variables in the metadata database: 32 bytes, base64
    "AIRFLOW__CORE__FERNET_KEY": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    # signs the sessions of MLflow's UI
    "MLFLOW_FLASK_SERVER_SECRET_KEY": lambda: secrets.token_urlsafe(48),
    # MLflow's `admin`
    "MLFLOW_TRACKING_PASSWORD": lambda: secrets.token_urlsafe(15),
    # Airflow's `admin` and `viewer`
    "LIFECYCLE_ADMIN_PASSWORD": lambda: secrets.token_urlsafe(15),
    "LIFECYCLE_VIEWER_PASSWORD": lambda: secrets.token_urlsafe(15),
}

# names the file of the key that signs models; the key itself is in no environment
SIGNING_KEY = "LIFECYCLE_SIGNING_KEY"

# the secrets that each part needs; tasks are children of the scheduler
NEEDED_BY: dict[str, frozenset[str]] = {
    "api-server": frozenset({"AIRFLOW__API_AUTH__JWT_SECRET", "AIRFLOW__API__SECRET_KEY", "AIRFLOW__CORE__FERNET_KEY"}),
    "scheduler": frozenset(
        {"AIRFLOW__API_AUTH__JWT_SECRET", "AIRFLOW__CORE__FERNET_KEY", "MLFLOW_TRACKING_PASSWORD", SIGNING_KEY}
    ),
    # it encrypts the arguments of asset watchers and signs the links to DAG bundles
    "dag-processor": frozenset({"AIRFLOW__CORE__FERNET_KEY"}),
    # it decrypts the arguments of triggers
    "triggerer": frozenset({"AIRFLOW__CORE__FERNET_KEY"}),
    "mlflow": frozenset({"MLFLOW_FLASK_SERVER_SECRET_KEY", "MLFLOW_AUTH_ADMIN_PASSWORD"}),
}

# tasks inherit the services' environment, and must not be able to log in to Airflow as a user
FOR_PEOPLE = frozenset({"LIFECYCLE_ADMIN_PASSWORD", "LIFECYCLE_VIEWER_PASSWORD"})


def only_needed(part: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return ``environ`` without the secrets that ``part`` does not need."""
    kept = NEEDED_BY[part]
    every = {*_GENERATORS, *(name for names in NEEDED_BY.values() for name in names)}
    return {name: value for name, value in environ.items() if name not in every or name in kept}


def generate_secrets() -> dict[str, str]:
    """Generate a fresh value of every secret."""
    return {name: make() for name, make in _GENERATORS.items()}


def load_or_create_secrets(path: Path) -> tuple[dict[str, str], bool]:
    """Return the secrets in ``path``, and true if this call created the file.

    Adds secrets that an older file lacks, and never changes one that exists.

    Raises:
        SettingsError: the file can be read by other users.
    """
    known: dict[str, str] = {}
    created = not path.exists()
    if not created:
        if path.stat().st_mode & 0o077:
            raise SettingsError(f"{path} can be read by other users; run: chmod 600 {path}")
        known = parse_env(path.read_text(encoding="utf-8"), str(path))
    missing = {name: value for name, value in generate_secrets().items() if name not in known}
    if missing:
        known |= missing
        lines = ["# Generated once. Deleting it makes stored connections unreadable and logs everyone out."]
        write_private(path, "\n".join(lines + [f"{name}={value}" for name, value in known.items()]) + "\n")
    return known, created


def write_airflow_passwords(path: Path, known: Mapping[str, str]) -> None:
    """Write the passwords of ``admin`` and ``viewer`` where Airflow's simple auth manager reads them."""
    passwords = {
        "admin": known["LIFECYCLE_ADMIN_PASSWORD"],
        "viewer": known["LIFECYCLE_VIEWER_PASSWORD"],
    }
    text = json.dumps(passwords) + "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_private(path, text)
    path.chmod(0o600)
