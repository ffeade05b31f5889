"""The cost of the DAG processor: every DAG file parsed in a fresh process, for 1, 10, 100 and 300 use cases.

The use cases are specs with ``like: flights``, eight DAGs each. ``parse_seconds`` is the time after the import of
``airflow.sdk``; the reference is that import alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from include.core.repository import REPOSITORY
from tests.benchmarks.cases import Call, Facts, Row, Scale, Target, Work

SCRIPT = REPOSITORY / "tests" / "dags" / "parse_dags.py"


def rows(scale: Scale) -> list[Row]:
    """List one row a number of use cases."""
    sizes = {"tiny": [1, 10], "small": [1, 10, 100]}.get(scale, [1, 10, 100, 300])
    found: list[Row] = []
    for size in sizes:
        name = f"{size} use case{'s' if size > 1 else ''}"
        targets = {
            1: (Target("parse_seconds", 0.5, text="time over the import <= 0.5 s"),),
            300: (Target("parse_seconds", 10, text="time over the import <= 10 s"),),
        }.get(size, ())
        # the import does not depend on the size, so one row measures it
        references = () if found else (Call("import airflow.sdk", "imported"),)
        found.append(Row(name, size, "use cases", Call("parse all DAG files", "parsed", {"cases": size}),
                         references, targets, "parse"))  # fmt: skip
    return found


def parsed(cases: int) -> Work:
    """Set up the parsing of all DAG files for ``cases`` use cases."""
    environ = _environ(cases)

    def run() -> Facts:
        command = [sys.executable, str(SCRIPT), "--no-serialized"]
        done = subprocess.run(command, env=environ, cwd=REPOSITORY, capture_output=True, encoding="utf-8", check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        assert not found["import_errors"], found["import_errors"]
        return {
            "parse_seconds": found["parse_seconds"],
            "import_seconds": found["import_sdk_seconds"],
            "dags": found["dags"],
        }

    return Work(run)


def imported() -> Work:
    """Set up the import of ``airflow.sdk`` alone."""
    environ = _environ(1)

    def run() -> None:
        subprocess.run([sys.executable, "-c", "import airflow.sdk"], env=environ, capture_output=True, check=True)

    return Work(run)


def _environ(cases: int) -> dict[str, str]:
    """Make an Airflow home with ``cases`` use cases, ``flights`` and copies of it; return the environment."""
    home = Path(tempfile.mkdtemp(prefix="bench-parse-"))
    # flights_live is the second use case
    for number in range(cases - 2):
        folder = home / "cases" / f"copy_{number}"
        folder.mkdir(parents=True)
        (folder / f"copy_{number}.yaml").write_text(f"name: copy_{number}\nlike: flights\n", encoding="utf-8")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "LIFECYCLE"))}
    return inherited | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'plugins'}",
        "LIFECYCLE_USE_CASES": str(home / "cases"),
    }
