"""A running stack for the end-to-end tests: DAG runs by REST and CLI, the lake read directly."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from include.core import fault_points
from include.core.settings import Settings
from include.spec.loading import load_use_case
from include.stack.airflow_cli import airflow_command
from include.stack.api import FINISHED, AirflowApi, Json
from include.stack.failures import explain_failure
from include.stack.layout import Layout
from include.stack.processes import PRIVATE
from include.stack.stack import Stack
from include.steps.workspace import Workspace
from tests.ports import free_ports
from tests.waiting import HANGS_AFTER_S

CASE = "flights_small"
CHAIN = ("ingest", "features", "score", "monitor")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Deployment:
    """One stack and the use case that the tests run on it."""

    layout: Layout
    stack: Stack
    workspace: Workspace

    @property
    def api(self) -> AirflowApi:
        return AirflowApi.from_layout(self.layout)

    # ---- DAG runs -----------------------------------------------------------------------------

    def start(self, step: str, conf: Json | None = None, key: str | None = None) -> str:
        """Trigger a DAG run of a step, with ``conf`` or for partition ``key``, and return its run id."""
        return self.api.trigger(dag(step), conf, key)

    def finish(self, step: str, run_id: str, timeout_s: float = HANGS_AFTER_S) -> Json:
        """Wait until a DAG run has ended in any state, and return it."""
        self.api.wait(dag(step), run_id, timeout_s)
        return self.api.run(dag(step), run_id)

    def succeed(self, step: str, run_id: str, timeout_s: float = HANGS_AFTER_S) -> Json:
        """Wait until a DAG run has succeeded, and return it; fail the test with the end of the failed task's log."""
        run = self.finish(step, run_id, timeout_s)
        assert run["state"] == "success", explain_failure(self.api, self.layout, run)
        return run

    def run(
        self, step: str, conf: Json | None = None, key: str | None = None, timeout_s: float = HANGS_AFTER_S
    ) -> Json:
        """Trigger a DAG run and wait until it has succeeded."""
        return self.succeed(step, self.start(step, conf, key), timeout_s)

    def why_failed(self, step: str, run_id: str) -> str:
        """Wait until a DAG run has failed, and return the end of the failed task's log."""
        run = self.finish(step, run_id)
        assert run["state"] == "failed", f"{step} {run_id} is {run['state']}"
        return explain_failure(self.api, self.layout, run)

    def tasks(self, step: str, run_id: str, task_id: str) -> list[Json]:
        """List the instances of one task in a DAG run."""
        return [task for task in self.api.task_instances(dag(step), run_id) if task["task_id"] == task_id]

    def backfill(self, step: str, keys: Sequence[str], *options: str) -> datetime:
        """Create a backfill of ``keys`` with the ``airflow`` command, and return the instant before the call."""
        asked = datetime.now(UTC)
        span = ("--from-date", keys[0], "--to-date", keys[-1])
        airflow_command(self.layout, "backfill", "create", "--dag-id", dag(step), *span, *options)
        return asked

    def flowed(
        self, steps: Iterable[str], keys: Sequence[str], since: datetime, timeout_s: float = HANGS_AFTER_S
    ) -> list[Json]:
        """Wait until each step has finished a DAG run for each key, queued after ``since``.

        Returns those DAG runs, one for each step and key. A failed one fails the test with the end of its log.
        """
        wanted = {(dag(step), key) for step in steps for key in keys}
        dag_ids = sorted({dag_id for dag_id, _ in wanted})

        def all_done() -> list[Json] | None:
            found = {}
            for dag_id in dag_ids:
                for run in self.api.runs(dag_id):
                    pair = (dag_id, run["partition_key"])
                    if pair not in wanted or datetime.fromisoformat(run["queued_at"]) < since:
                        continue
                    assert run["state"] != "failed", explain_failure(self.api, self.layout, run)
                    if run["state"] in FINISHED:
                        found[pair] = run
            return list(found.values()) if found.keys() == wanted else None

        return self.until(all_done, f"{', '.join(steps)} of {', '.join(keys)}", timeout_s)

    def until(
        self, ask: Callable[[], Answer | None], goal: str, timeout_s: float = HANGS_AFTER_S, poll_s: float = 0.3
    ) -> Answer:
        """Poll ``ask`` until it returns a value; fail the test after ``timeout_s`` or when a service has ended."""
        deadline = time.monotonic() + timeout_s
        while (answer := ask()) is None:
            assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s for: {goal}"
            self.stack.require_running()
            time.sleep(poll_s)
        return answer

    # ---- the lake -----------------------------------------------------------------------------

    def table(self, layer: str, name: str) -> str:
        return self.workspace.case.table(layer, name)

    @property
    def feature_tables(self) -> list[str]:
        return [self.table("features", view) for view in self.workspace.case.features.views]

    @property
    def daily_raw_tables(self) -> list[str]:
        return [self.table("raw", name) for name in self.workspace.case.partitioned_raw]

    def versions(self) -> dict[str, int | None]:
        """Return the Delta version of each published table."""
        lake = self.workspace.lake
        return {table: lake.version(table) for table in lake.tables(CASE)}

    def fingerprints(self, table: str, keys: Iterable[str]) -> dict[str, str]:
        """Return the fingerprint of each published partition of ``keys``."""
        return {key: record.fingerprint for key, record in self.workspace.lake.records(table, keys).items()}

    def scored_by(self, day: str) -> set[int]:
        """Return the model versions in the published predictions of ``day``."""
        rows = self.workspace.lake.dataset(self.table("predictions", "scores"), [day]).to_table(["model_version"])
        return set(rows["model_version"].to_pylist())

    # ---- killing ------------------------------------------------------------------------------

    def processes(self, step: str, run_id: str, task_id: str) -> list[psutil.Process]:
        """List the processes of a task's running instances and their children; Airflow sets the process titles."""
        titles = tuple(f"airflow worker -- {task['id']}" for task in self.tasks(step, run_id, task_id))
        found = titled(titles)
        with suppress(psutil.NoSuchProcess):
            found += [child for process in found for child in process.children(recursive=True)]
        return list(dict.fromkeys(found))


@contextmanager
def clean_environ() -> Iterator[pytest.MonkeyPatch]:
    """Clear the settings of every other stack from the environment, so that nothing is written into a foreign lake."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith(("LIFECYCLE_", "MLFLOW_", "AIRFLOW")):
                patch.delenv(name)
        patch.setenv("LIFECYCLE_USE_CASES", str(Path(__file__).parent / "use_cases"))
        # as the command does: this process starts the stack and writes into the lake too
        before = os.umask(PRIVATE)
        yield patch
        os.umask(before)


@contextmanager
def own_stack(environ: pytest.MonkeyPatch, prefix: str = "e2e-", overrides: str = "") -> Iterator[Deployment]:
    """Start a stack with its own PostgreSQL, ports and folder; stop and delete it at the end, also after a failure."""
    # PostgreSQL's socket needs a short path, and the server's user cannot enter pytest's folders
    parent = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
    layout = Layout(parent / "home", *free_ports())
    stack = Stack(layout)
    layout.home.mkdir(mode=0o700)
    layout.overrides_file.write_text(overrides, encoding="utf-8")
    # SIGTERM ends the tests like Ctrl-C, so that the stack is stopped
    before = signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated"))
    try:
        stack.up()
        for name, value in stack.environ().items():
            if name.startswith(("LIFECYCLE_", "MLFLOW_", "FEAST_", "GX_")):
                environ.setenv(name, value)
        # they are for the stack's processes, not for this one
        environ.delenv(fault_points.POINT, raising=False)
        found = Deployment(layout, stack, Workspace(Settings.from_environ(), load_use_case(CASE)))
        found.api.wait_for_dags([dag(step) for step in ("bootstrap", "train", "promote", *CHAIN)])
        yield found
    finally:
        stack.down()
        shutil.rmtree(parent, ignore_errors=True)
        signal.signal(signal.SIGTERM, before)


def dag(step: str) -> str:
    """Return the DAG id of one step of the tests' use case."""
    return f"{CASE}_{step}"


def titled(titles: Sequence[str]) -> list[psutil.Process]:
    """List every process whose title begins with one of ``titles``."""
    found = []
    for process in psutil.process_iter():
        try:
            if " ".join(process.cmdline()).strip().startswith(tuple(titles)):
                found.append(process)
        except psutil.Error:
            continue
    return found
