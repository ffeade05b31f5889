"""An Airflow for tests: a home of its own, SQLite that nobody connects to, this repository's DAGs and plugin."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.waiting import HANGS_AFTER_S

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag

REPOSITORY = Path(__file__).resolve().parents[2]
DAGS = REPOSITORY / "dags"


@functools.cache
def environ() -> dict[str, str]:
    """Return the environment variables that Airflow needs before it is imported."""
    home = tempfile.mkdtemp(prefix="airflow-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    return {
        "AIRFLOW_HOME": home,
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
    }


def prepare() -> None:
    """Set the environment of this process; harmless to repeat, useless after Airflow has been imported."""
    os.environ.update(environ())


@functools.cache
def dagbag() -> DagBag:
    """Every DAG of the repository, parsed once."""
    prepare()
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(str(DAGS))


@functools.cache
def scheduled(dag_id: str) -> Any:
    """Return a DAG as the scheduler and the API have it: serialized by the DAG processor and read back."""
    from airflow.serialization.serialized_objects import DagSerialization

    return DagSerialization.from_dict(DagSerialization.to_dict(dagbag().dags[dag_id]))


def parse_elsewhere(**more: str) -> dict[str, Any]:
    """Parse the DAG files in a fresh process and return its findings; see ``parse_dags.py``."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "LIFECYCLE"))}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("parse_dags.py"))],
        env=inherited | environ() | {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'plugins'}"} | more,
        capture_output=True,
        encoding="utf-8",
        timeout=HANGS_AFTER_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
