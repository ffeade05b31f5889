"""Tests of the layout: later commands find the stack on the ports of its last start."""

from __future__ import annotations

from pathlib import Path

from include.stack.layout import Layout


def test_a_stack_is_found_again_on_the_ports_it_was_started_on(tmp_path: Path) -> None:
    Layout.from_environ({"LIFECYCLE_HOME": str(tmp_path), "LIFECYCLE_AIRFLOW_PORT": "8091"}).remember()
    found = Layout.from_environ({"LIFECYCLE_HOME": str(tmp_path), "LIFECYCLE_MLFLOW_PORT": "5091"})
    assert (found.airflow_port, found.mlflow_port) == (8091, 5091)
