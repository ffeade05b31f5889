"""Preparation of the containers of ``docker/compose.yaml``: the steps that ``make up`` does by itself.

``python -m include.stack.containers secrets docker/.env`` writes the values that the compose file refers to.
``python -m include.stack.containers prepare`` is the command of the first container: login files, schema, pool.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
from pathlib import Path

from include.core.errors import LifecycleError, SettingsError
from include.core.files import write_private
from include.core.settings import KeySettings
from include.registry import keys
from include.stack.environment import code_version, task_capacity
from include.stack.mlflow_login import write_login_settings
from include.stack.secrets import generate_secrets, write_airflow_passwords


def write_compose_env(path: Path) -> None:
    """Write addresses and fresh secrets for ``docker/compose.yaml`` into a file that only its owner can read.

    Raises:
        SettingsError: the file exists. Its secrets open databases that fresh secrets would not open.
    """
    if path.exists():
        raise SettingsError(f"{path} exists, and its secrets belong to stored data; move it away first")
    slots, threads = task_capacity(len(os.sched_getaffinity(0)))
    password = secrets.token_urlsafe(24)
    values = {
        "LIFECYCLE_REPOSITORY": "/opt/lifecycle/code",
        "LIFECYCLE_HOME": "/opt/lifecycle/state",
        "LIFECYCLE_DB_PASSWORD": password,
        "LIFECYCLE_DB_LOGIN": f"lifecycle:{password}@postgres:5432",
        "LIFECYCLE_DB_QUERY": "",
        "LIFECYCLE_AIRFLOW_HOST": "api-server",
        "LIFECYCLE_AIRFLOW_PORT": "8080",
        "LIFECYCLE_MLFLOW_HOST": "mlflow",
        "LIFECYCLE_MLFLOW_PORT": "5000",
        # every interface of the container; compose publishes the port to this machine only
        "LIFECYCLE_BIND": "0.0.0.0",  # noqa: S104
        "LIFECYCLE_TASK_SLOTS": str(slots),
        "LIFECYCLE_TASK_THREADS": str(threads),
        "LIFECYCLE_SEARCH_SLOTS": str(len(os.sched_getaffinity(0))),
        "LIFECYCLE_CODE_VERSION": code_version(),
        **generate_secrets(),
    }
    write_private(path, "".join(f"{name}={value}\n" for name, value in values.items()))


def prepare() -> None:
    """Write the login files and the key of models, migrate Airflow's schema and set the size of the search pool.

    Every start sets the pool: ``LIFECYCLE_SEARCH_SLOTS`` declares its size, and a size set by hand is overwritten.
    """
    home = Path(os.environ["LIFECYCLE_HOME"])
    write_airflow_passwords(Path(os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"]), os.environ)
    write_login_settings(home / "mlflow" / "auth.ini", os.environ)
    keys.ensure(KeySettings.read())
    slots = os.environ.get("LIFECYCLE_SEARCH_SLOTS", "1")
    subprocess.run(["airflow", "db", "migrate"], check=True)
    subprocess.run(["airflow", "pools", "set", "gpu", slots, "search workers at once"], check=True)


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m include.stack.containers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("secrets", help="write the values that docker/compose.yaml asks for")
    make.add_argument("path", type=Path)
    commands.add_parser("prepare", help="inside the first container: login files, schema, pool")
    options = parser.parse_args(arguments)
    try:
        if options.command == "secrets":
            write_compose_env(options.path)
        else:
            prepare()
    except (LifecycleError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"{options.command} failed: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
