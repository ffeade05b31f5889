"""The embedded stack of the benchmarks that go through Airflow, and the same day as plain calls.

One state folder under ``var/bench`` is prepared once: history landed, features published, a champion promoted, the
days scored that monitoring reads. At full scale `make demo` does most of it. Each measurement takes the next days that
no earlier one has processed, because a second publish of the same day is quicker.

The stack is up before a measurement, with the settings of that measurement. A stack with other settings is stopped
first, so that two stacks never share the machine. The stack stays up between measurements; callers must end with
`stop_all`, and this module as a script calls it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from include.core import partitions
from include.core.partitions import Span
from include.core.repository import REPOSITORY
from include.core.settings import Settings
from include.lake.records import Attempt
from include.spec.loading import load_use_case
from include.stack import demo
from include.stack.airflow_cli import airflow_command
from include.stack.api import AirflowApi, Json
from include.stack.layout import Layout
from include.stack.stack import Stack
from include.steps.handover import Stages
from include.steps.workspace import Workspace
from tests.benchmarks.data import CACHE
from tests.ports import free_ports

CHAIN = ("ingest", "features", "score", "monitor")
STEPS = ("bootstrap", "train", "promote", *CHAIN)
SMALL = "flights_small"
SMALL_LOADED_TO = "2013-02-28"
SCORED_DAYS = 15
LAST = "2013-12-30"
# days that a backfill at full scale needs, and two measurements of the chain before it
DAYS_AHEAD = 35
# Airflow's own defaults of the settings that this project changes for speed
STOCK = """
AIRFLOW__CORE__PARALLELISM=32
AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG=16
AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME=1
AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL=5
AIRFLOW__SCHEDULER__MP_START_METHOD=fork
AIRFLOW__SCHEDULER__MP_FORKSERVER_PRELOAD=
AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES=2
"""
_POLL_S = 0.2


def use_case(scale: str) -> str:
    """Return the real use case; at small scales that of the end-to-end tests, which trains in seconds."""
    return demo.USE_CASE if scale == "full" else SMALL


@dataclass
class Prepared:
    """The prepared folder of one use case."""

    case: str

    @property
    def home(self) -> Path:
        """Return the state folder."""
        return CACHE.parent / f"stack-{self.case}"

    def make(self) -> None:
        """Prepare the folder; prepare it again when few unused days are left."""
        ready = self.home / "next_day"
        if ready.exists() and ready.read_text(encoding="utf-8") <= partitions.shift(LAST, 1 - DAYS_AHEAD):
            return
        self.forget()
        if self.case == SMALL:
            self._make_small()
        else:
            self.play_demo()
            self.go_on_from_demo()

    def forget(self) -> None:
        """Stop the stack of the folder and delete the folder."""
        Stack(Layout(self.home)).down()
        shutil.rmtree(self.home, ignore_errors=True)

    def play_demo(self) -> str:
        """Run `make demo` in the folder and return its output; the services stay up."""
        only_ours(os.environ)
        airflow, mlflow = free_ports()
        environ = {
            **os.environ, "PYTHONPATH": str(REPOSITORY), "LIFECYCLE_HOME": str(self.home),
            "LIFECYCLE_AIRFLOW_PORT": str(airflow), "LIFECYCLE_MLFLOW_PORT": str(mlflow),
        }  # fmt: skip
        command = [sys.executable, "-m", "include.stack", "demo"]
        played = subprocess.run(
            command, env=environ, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, encoding="utf-8"
        )
        return played.stdout

    def go_on_from_demo(self) -> None:
        """Score the days before the demo's week that the monitoring of later days reads."""
        from include.steps.score import predicting

        first, last = partitions.shift(demo.BACKFILL[-1], -SCORED_DAYS), partitions.shift(demo.BACKFILL[0], -1)
        self.start()
        self._score(first, last, predicting.CURRENT)
        self._ready_from(partitions.shift(demo.BACKFILL[-1], 1))

    def _make_small(self) -> None:
        from include.steps.score import predicting

        api = AirflowApi.from_layout(self.start().layout)
        for step in STEPS:
            api.unpause(f"{self.case}_{step}")
        finish(api, f"{self.case}_bootstrap", {"from": "2013-01-01", "to": SMALL_LOADED_TO})
        scored_from = partitions.shift(SMALL_LOADED_TO, -SCORED_DAYS)
        finish(api, f"{self.case}_train", {"trials": 4, "as_of": scored_from})
        wait_for(api, [f"{self.case}_promote"], None, datetime.fromtimestamp(0, UTC))
        self._score(scored_from, SMALL_LOADED_TO, predicting.AS_OF_CLOCK)
        self._ready_from(partitions.shift(SMALL_LOADED_TO, 1))

    def _score(self, first: str, last: str, model: str) -> None:
        from include.steps import publishing
        from include.steps.score import predicting

        workspace, attempt = self.workspace(), Attempt(self.case, f"{self.case}_score", "benchmark")
        stages = predicting.stage(workspace, Span(first=first, last=last), model, attempt)
        publishing.audit(workspace, stages, attempt)
        publishing.publish(workspace, stages, attempt)

    def _ready_from(self, day: str) -> None:
        (self.home / "next_day").write_text(day, encoding="utf-8")

    def take(self, days: int) -> tuple[str, ...]:
        """Take the next unused days."""
        file = self.home / "next_day"
        first = file.read_text(encoding="utf-8")
        file.write_text(partitions.shift(first, days), encoding="utf-8")
        return partitions.key_range(first, partitions.shift(first, days - 1))

    def start(self, overrides: str = "") -> Stack:
        """Start the stack with ``overrides``, and set this process's environment so that it reads the stack's lake.

        A stack that already runs with the same overrides is reused.
        """
        only_ours(os.environ)
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        stack = Stack(Layout.from_environ({"LIFECYCLE_HOME": str(self.home)}))
        if not self._runs_with(stack, overrides):
            stack.down()
            stack = Stack(Layout(self.home, *free_ports()))
            stack.layout.overrides_file.write_text(overrides, encoding="utf-8")
            stack.up()
        api = AirflowApi.from_layout(stack.layout)
        api.wait_for_dags([f"{self.case}_{step}" for step in STEPS])
        # no training that monitoring asks for may start: the plain calls do not train either
        api.pause(f"{self.case}_train")
        given = stack.environ()
        for name in [name for name in given if name.startswith(("LIFECYCLE_", "MLFLOW_", "FEAST_", "GX_"))]:
            os.environ[name] = given[name]
        return stack

    def _runs_with(self, stack: Stack, overrides: str) -> bool:
        file = stack.layout.overrides_file
        given = file.read_text(encoding="utf-8") if file.exists() else ""
        return given == overrides and all(part.healthy for part in stack.status())

    def workspace(self) -> Workspace:
        """Open the workspace of the use case with the settings of this process's environment."""
        return Workspace(Settings.from_environ(), load_use_case(self.case))


def stop_all() -> None:
    """Stop every stack of the benchmarks, also those that a killed process has left."""
    for home in CACHE.parent.glob("stack-*"):
        Stack(Layout(home)).down()


def only_ours(environ: Any) -> None:
    """Remove the settings of other stacks from ``environ``, and add the use cases of the end-to-end tests."""
    for name in [name for name in environ if name.startswith(("LIFECYCLE_", "MLFLOW_", "AIRFLOW"))]:
        del environ[name]
    environ["LIFECYCLE_USE_CASES"] = str(Path(__file__).parents[1] / "e2e" / "use_cases")


# ---- through Airflow ------------------------------------------------------------------------------


def finish(api: AirflowApi, dag_id: str, conf: Json) -> Json:
    """Trigger a DAG run of ``dag_id`` with ``conf``, wait until it has succeeded, and return it."""
    run_id = api.trigger(dag_id, conf)
    if api.wait(dag_id, run_id, 1800, poll_s=_POLL_S) != "success":
        raise RuntimeError(f"{dag_id} {run_id} failed")
    return api.run(dag_id, run_id)


def one_day_through_airflow(api: AirflowApi, case: str, key: str) -> list[Json]:
    """Trigger the ingest of ``key``, wait for its monitoring, and return the four DAG runs."""
    asked = datetime.now(UTC)
    api.trigger(f"{case}_ingest", partition_key=key)
    return wait_for(api, [f"{case}_{step}" for step in CHAIN], [key], asked)


def backfill(stack: Stack, case: str, keys: Sequence[str]) -> list[Json]:
    """Backfill the ingest of ``keys`` with the ``airflow`` command, wait for monitoring, and return the DAG runs."""
    asked = datetime.now(UTC)
    span = ("--from-date", keys[0], "--to-date", keys[-1], "--max-active-runs", "4")
    airflow_command(stack.layout, "backfill", "create", "--dag-id", f"{case}_ingest", *span)
    return wait_for(AirflowApi.from_layout(stack.layout), [f"{case}_{step}" for step in CHAIN], keys, asked)


def wait_for(
    api: AirflowApi, dag_ids: Sequence[str], keys: Sequence[str] | None, since: datetime, timeout_s: float = 3600
) -> list[Json]:
    """Poll until each DAG has a successful run for each key, or any one without ``keys``, queued after ``since``."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found: dict[tuple[str, str], Json] = {}
        for dag_id in dag_ids:
            for run in api.runs(dag_id):
                if datetime.fromisoformat(run["queued_at"] or run["run_after"]) < since:
                    continue
                if run["state"] == "failed":
                    raise RuntimeError(f"{dag_id} {run['dag_run_id']} failed")
                if run["state"] == "success" and (keys is None or run["partition_key"] in keys):
                    found[dag_id, str(run["partition_key"]) if keys else ""] = run
        if len(found) == len(dag_ids) * (1 if keys is None else len(keys)):
            return list(found.values())
        time.sleep(_POLL_S)
    raise RuntimeError(f"{', '.join(dag_ids)} did not finish in {timeout_s:.0f} s")


def shares(api: AirflowApi, runs: Sequence[Json], began: float, ended: float) -> dict[str, float]:
    """Split the time between two instants into time in tasks and time between tasks, in seconds.

    ``in_tasks`` is the time in which at least one task ran, ``task_seconds`` the sum over all tasks.
    """
    spans = []
    for run in runs:
        for task in api.task_instances(str(run["dag_id"]), str(run["dag_run_id"])):
            if task["start_date"] and task["end_date"]:
                start, end = (datetime.fromisoformat(task[name]).timestamp() for name in ("start_date", "end_date"))
                spans.append((max(start, began), min(end, ended)))
    covered, reached = 0.0, began
    for start, end in sorted(spans):
        covered += max(end - max(start, reached), 0.0)
        reached = max(reached, end)
    return {
        "tasks": float(len(spans)),
        "task_seconds": sum(end - start for start, end in spans),
        "in_tasks": covered,
        "between_tasks": ended - began - covered,
    }


# ---- as plain calls -------------------------------------------------------------------------------


def one_day(workspace: Workspace, key: str) -> dict[str, float]:
    """Do the work of the four DAGs for ``key`` as plain calls; return the seconds of each step."""
    from include.steps import features, ingest, monitor, publishing
    from include.steps.score import predicting

    took: dict[str, float] = {}
    span, began = Span.one(key), time.perf_counter()

    def lap(step: str) -> None:
        nonlocal began
        now = time.perf_counter()
        took[step], began = now - began, now

    def publish(stages: Stages, attempt: Attempt) -> None:
        publishing.audit(workspace, stages, attempt)
        publishing.publish(workspace, stages, attempt)

    def attempt_of(step: str) -> Attempt:
        return Attempt(workspace.case.name, f"{workspace.case.name}_{step}", f"benchmark-{key}")

    publish(ingest.land(workspace, span, attempt_of("ingest")), attempt_of("ingest"))
    lap("ingest")
    publish(features.stage(workspace, span, attempt_of("features")), attempt_of("features"))
    features.materialize(workspace, span)
    lap("features")
    publish(predicting.stage(workspace, span, predicting.AS_OF_CLOCK, attempt_of("score")), attempt_of("score"))
    lap("score")
    publish(monitor.stage(workspace, span, attempt_of("monitor")), attempt_of("monitor"))
    monitor.training_requested(workspace, key, "backfill", attempt_of("monitor"))
    lap("monitor")
    return took


if __name__ == "__main__":
    stop_all()
