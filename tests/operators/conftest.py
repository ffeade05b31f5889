"""Airflow reads its environment when it is imported; a task reads the project's when it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dags import airflow_home

airflow_home.prepare()

from include.steps.workspace import Workspace  # noqa: E402
from tests.operators.task_case import SETTINGS  # noqa: E402


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Open the flights use case in a deployment whose every part lies in a temporary folder."""
    for name, path in SETTINGS.items():
        monkeypatch.setenv(name, str(tmp_path / path))
    return Workspace.open("flights")
