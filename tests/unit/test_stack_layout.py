"""Tests of the layout: later commands find the stack on the ports of its last start."""

from __future__ import annotations

from pathlib import Path

from include.stack.environment import service_environ
from include.stack.layout import Layout


def test_a_stack_is_found_again_on_the_ports_it_was_started_on(tmp_path: Path) -> None:
    Layout.from_environ({"LIFECYCLE_HOME": str(tmp_path), "LIFECYCLE_AIRFLOW_PORT": "8091"}).remember()
    found = Layout.from_environ({"LIFECYCLE_HOME": str(tmp_path), "LIFECYCLE_MLFLOW_PORT": "5091"})
    assert (found.airflow_port, found.mlflow_port) == (8091, 5091)


def test_a_stack_knows_the_use_cases_that_it_was_started_with(tmp_path: Path) -> None:
    home, folders = {"LIFECYCLE_HOME": str(tmp_path)}, f"{tmp_path}/my cases # ü:{tmp_path}/more"
    Layout.from_environ({**home, "LIFECYCLE_USE_CASES": folders}).remember()
    again = Layout.from_environ(home)
    assert service_environ(again, {}, home)["LIFECYCLE_USE_CASES"] == folders
    other = Layout.from_environ({**home, "LIFECYCLE_USE_CASES": str(tmp_path)})
    assert service_environ(other, {}, home)["LIFECYCLE_USE_CASES"] == str(tmp_path)
    other.remember()
    assert Layout.from_environ(home).use_cases == str(tmp_path)


def test_folders_that_no_file_can_hold_are_not_remembered(tmp_path: Path) -> None:
    home = {"LIFECYCLE_HOME": str(tmp_path)}
    Layout.from_environ({**home, "LIFECYCLE_USE_CASES": "/a\nLIFECYCLE_BIND=0.0.0.0"}).remember()
    assert Layout.from_environ(home) == Layout.from_environ({**home, "LIFECYCLE_USE_CASES": ""})
