"""Tests of the services' environment: settings file, the shell's LIFECYCLE_*, overrides, no foreign settings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from include.core.errors import SettingsError
from include.core.repository import REPOSITORY
from include.core.settings import Settings
from include.stack.environment import service_environ, task_capacity
from include.stack.layout import SOCKET_NAME, SOCKET_PATH_LIMIT, Layout

SECRETS = {"AIRFLOW__API_AUTH__JWT_SECRET": "j", "LIFECYCLE_ADMIN_PASSWORD": "people's"}


def layout(home: Path) -> Layout:
    return Layout(home, airflow_port=18080, mlflow_port=15000)


def test_the_settings_file_gives_complete_project_settings(tmp_path: Path) -> None:
    environ = service_environ(layout(tmp_path), SECRETS, {"LIFECYCLE_CODE_VERSION": "abc"})
    settings = Settings.from_environ(environ)
    assert settings.lake_root == f"{tmp_path}/lake"
    assert settings.mlflow_tracking_uri == "http://127.0.0.1:15000"
    assert settings.optuna_storage == f"postgresql+psycopg2://postgres:@/optuna?host={tmp_path}/socket"
    assert settings.code_version == "abc"
    assert environ["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert not [name for name, value in environ.items() if "${" in value and name.startswith("AIRFLOW")]


def test_other_installations_of_the_shell_do_not_leak_in(tmp_path: Path) -> None:
    shell = {"AIRFLOW__CORE__EXECUTOR": "Other", "MLFLOW_RUN_ID": "x", "PYTHONPATH": "/other", "LANG": "C"}
    environ = service_environ(layout(tmp_path), SECRETS, shell)
    assert environ["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert "MLFLOW_RUN_ID" not in environ
    assert "/other" not in environ["PYTHONPATH"]
    assert environ["LANG"] == "C"


def test_shell_wins_over_file_and_overrides_win_over_all(tmp_path: Path) -> None:
    (tmp_path / "overrides.env").write_text("LIFECYCLE_MEMORY_LIMIT=9GB\nAIRFLOW__CORE__PARALLELISM=1\n")
    shell = {"LIFECYCLE_MEMORY_LIMIT": "3GB", "LIFECYCLE_LAKE_ROOT": "s3://bucket/lake"}
    environ = service_environ(layout(tmp_path), SECRETS, shell)
    assert environ["LIFECYCLE_LAKE_ROOT"] == "s3://bucket/lake"
    assert environ["LIFECYCLE_MEMORY_LIMIT"] == "9GB"
    assert environ["AIRFLOW__CORE__PARALLELISM"] == "1"


def test_tasks_do_not_get_the_passwords_of_people(tmp_path: Path) -> None:
    environ = service_environ(layout(tmp_path), SECRETS, {"LIFECYCLE_ADMIN_PASSWORD": "exported"})
    assert environ["AIRFLOW__API_AUTH__JWT_SECRET"] == "j"
    assert "LIFECYCLE_ADMIN_PASSWORD" not in environ


@pytest.mark.parametrize(("cores", "expected"), [(1, (2, 1)), (2, (4, 1)), (8, (16, 1)), (64, (16, 8))])
def test_slots_and_threads_follow_the_cores(cores: int, expected: tuple[int, int]) -> None:
    assert task_capacity(cores) == expected


def test_a_port_that_is_no_port_is_refused(tmp_path: Path) -> None:
    home = {"LIFECYCLE_HOME": str(tmp_path)}
    with pytest.raises(SettingsError, match="LIFECYCLE_MLFLOW_PORT is '70000'"):
        Layout.from_environ({**home, "LIFECYCLE_MLFLOW_PORT": "70000"})
    with pytest.raises(SettingsError, match="are both 5000"):
        Layout.from_environ({**home, "LIFECYCLE_AIRFLOW_PORT": "5000"})


def test_a_deep_home_gets_a_short_socket_folder_of_its_own(tmp_path: Path) -> None:
    near, deep, deeper = (Layout(tmp_path / name).socket_folder for name in ("a", "d" * 120, "e" * 120))
    assert near == tmp_path / "a" / "socket"
    assert len(str(deep / SOCKET_NAME)) <= SOCKET_PATH_LIMIT
    assert deep != deeper


NAMELESS = 54321
CHILD = """
import getpass, os, sys
from pathlib import Path
from include.stack.environment import service_environ
from include.stack.layout import Layout
os.setgroups([])
os.setgid(54321)
os.setuid(54321)
environ = service_environ(Layout(Path(sys.argv[1])), {})
os.environ.clear()
os.environ.update(environ)
print(Path.home(), getpass.getuser())
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user without a name")
def test_a_user_without_name_and_home_gets_both() -> None:
    """C38: Great Expectations and MLflow ask for them when they are imported."""
    shell = {name: value for name, value in os.environ.items() if name not in {"HOME", "USER", "LOGNAME", "LNAME"}}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, "/srv/state"], cwd=REPOSITORY, env=shell, capture_output=True, encoding="utf-8",
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["/srv/state", f"user-{NAMELESS}"]


def test_the_home_of_the_shell_stays(tmp_path: Path) -> None:
    environ = service_environ(layout(tmp_path), SECRETS, {"HOME": "/home/somebody", "USER": "somebody"})
    assert (environ["HOME"], environ["USER"]) == ("/home/somebody", "somebody")
