"""A running stack as the end-to-end tests use it: runs by REST and CLI, the lake read directly."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import psutil

from include.stack.airflow_cli import airflow_command
from include.stack.api import FINISHED, AirflowApi, Json
from include.stack.failures import explain_failure
from include.stack.layout import Layout
from include.stack.stack import Stack
from include.steps.workspace import Workspace

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

    # ---- runs ---------------------------------------------------------------------------------

    def start(self, stage: str, conf: Json | None = None, key: str | None = None) -> str:
        """Trigger a run of a stage, maybe for a partition; returns its id."""
        return self.api.trigger(dag(stage), conf, key)

    def finish(self, stage: str, run_id: str, timeout_s: float = 300) -> Json:
        """The run once it has ended, whatever its state."""
        self.api.wait(dag(stage), run_id, timeout_s)
        return self.api.run(dag(stage), run_id)

    def succeed(self, stage: str, run_id: str, timeout_s: float = 300) -> Json:
        """The run once it has succeeded; fails the test with the end of the failed task's log."""
        run = self.finish(stage, run_id, timeout_s)
        assert run["state"] == "success", explain_failure(self.api, self.layout, run)
        return run

    def run(self, stage: str, conf: Json | None = None, key: str | None = None, timeout_s: float = 300) -> Json:
        """Trigger a run and wait until it has succeeded."""
        return self.succeed(stage, self.start(stage, conf, key), timeout_s)

    def why_failed(self, stage: str, run_id: str) -> str:
        """Wait until a run has failed; returns what its failed task said last."""
        run = self.finish(stage, run_id)
        assert run["state"] == "failed", f"{stage} {run_id} is {run['state']}"
        return explain_failure(self.api, self.layout, run)

    def tasks(self, stage: str, run_id: str, task_id: str) -> list[Json]:
        """The instances of one task in a run."""
        return [task for task in self.api.task_instances(dag(stage), run_id) if task["task_id"] == task_id]

    def backfill(self, stage: str, keys: Sequence[str], *options: str) -> datetime:
        """Backfill ``keys`` with the ``airflow`` command; returns when it was asked for."""
        asked = datetime.now(UTC)
        span = ("--from-date", keys[0], "--to-date", keys[-1])
        airflow_command(self.layout, "backfill", "create", "--dag-id", dag(stage), *span, *options)
        return asked

    def flowed(self, stages: Iterable[str], keys: Sequence[str], since: datetime, timeout_s: float = 300) -> list[Json]:
        """Wait until each stage has finished a run for each key that was started after ``since``.

        Returns those runs, one a stage and key. A run that failed fails the test with its log's end.
        """
        wanted = {(dag(stage), key) for stage in stages for key in keys}
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

        return self.until(all_done, f"{', '.join(stages)} of {', '.join(keys)}", timeout_s)

    def until(self, ask: Callable[[], Answer | None], what: str, timeout_s: float = 120, poll_s: float = 0.3) -> Answer:
        """What ``ask`` answers once it is not None; fails the test when that takes too long or the stack died."""
        deadline = time.monotonic() + timeout_s
        while (answer := ask()) is None:
            assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s for: {what}"
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
        """The Delta version of each table that has been published."""
        lake = self.workspace.lake
        return {table: lake.version(table) for table in lake.tables(CASE)}

    def fingerprints(self, table: str, keys: Iterable[str]) -> dict[str, str]:
        """The content of each published partition."""
        return {key: record.fingerprint for key, record in self.workspace.lake.records(table, keys).items()}

    def scored_by(self, day: str) -> set[int]:
        """The model versions that the published predictions of ``day`` name."""
        rows = self.workspace.lake.dataset(self.table("predictions", "scores"), [day]).to_table(["model_version"])
        return set(rows["model_version"].to_pylist())

    # ---- killing ------------------------------------------------------------------------------

    def processes(self, stage: str, run_id: str, task_id: str) -> list[psutil.Process]:
        """The processes that run a task's instances now and what they have started; Airflow gives them a title."""
        titles = tuple(f"airflow worker -- {task['id']}" for task in self.tasks(stage, run_id, task_id))
        found = titled(titles)
        with suppress(psutil.NoSuchProcess):
            found += [child for process in found for child in process.children(recursive=True)]
        return list(dict.fromkeys(found))


def dag(stage: str) -> str:
    """The DAG of one stage of the tests' use case."""
    return f"{CASE}_{stage}"


def titled(titles: Sequence[str]) -> list[psutil.Process]:
    """Every process whose title begins with one of ``titles``."""
    found = []
    for process in psutil.process_iter():
        try:
            if " ".join(process.cmdline()).strip().startswith(tuple(titles)):
                found.append(process)
        except psutil.Error:
            continue
    return found


def kill_when(processes: Sequence[psutil.Process], reached: Callable[[], bool]) -> bool:
    """Kill ``processes`` (SIGKILL) at a moment when ``reached`` is true, and they cannot get past it.

    They are halted while the question is asked, and run on for a twentieth of a second when the answer is
    no. Returns false if one ended before the moment came.
    """
    while True:
        try:
            for process in processes:
                process.send_signal(signal.SIGSTOP)
            if reached():
                for process in processes:
                    process.kill()
                return True
            for process in processes:
                process.send_signal(signal.SIGCONT)
        except psutil.NoSuchProcess:
            return False
        time.sleep(0.05)
