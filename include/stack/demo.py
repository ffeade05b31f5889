"""The demo: bootstrap, train, promote and backfill the flights use case, with progress and a summary.

Everything is done as a person would do it: runs are triggered over the REST API, the backfill is created
with the ``airflow`` command. What an earlier demo has finished is not asked for again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from include.core import partitions
from include.core.errors import LifecycleError
from include.core.settings import Settings
from include.stack.api import FINISHED, AirflowApi, Json, RunTimeout, airflow_command
from include.stack.demo_board import Board, Row, count_states
from include.stack.layout import Layout
from include.stack.logins import print_logins
from include.stack.pools import ensure_pools
from include.stack.progress import PartsProgress
from include.stack.stack import Stack

_Answer = TypeVar("_Answer")
USE_CASE = "flights"
BOOTSTRAP = {"from": "2013-01-01", "to": "2013-10-31"}
BACKFILL = partitions.key_range("2013-11-01", "2013-11-07")
# each of the seven days flows through these, by partitioned assets
CHAIN = ("ingest", "features", "score", "monitor")
DAGS = tuple(f"{USE_CASE}_{stage}" for stage in ("bootstrap", "train", "promote", *CHAIN))
_POLL_S = 1.0
_STEP_TIMEOUT_S = 1800.0
# a promotion is scheduled by the event of a registered challenger; more means that nobody listens
_TRIGGERED_WITHIN_S = 60.0


class RunFailed(LifecycleError):
    """A run of the demo failed; says which task, why and where its log is."""


class Demo:
    """One demo on one stack."""

    def __init__(self, layout: Layout, stack: Stack, board: Board) -> None:
        self.layout = layout
        self.stack = stack
        self.board = board
        self.api = AirflowApi.from_layout(layout)

    def play(self) -> None:
        """Run every step; those that an earlier demo has finished are only shown.

        Raises:
            RunFailed: a task failed for good.
            RunTimeout: a step took longer than half an hour.
        """
        self.api.wait_for_dags(DAGS)
        for dag_id in DAGS:
            self.api.unpause(dag_id)
        self._single(f"{USE_CASE}_bootstrap", BOOTSTRAP)
        trained = self._single(f"{USE_CASE}_train", {})
        self._promote(trained)
        self._backfill()

    def _single(self, dag_id: str, conf: Json) -> Json:
        """The finished run of ``dag_id`` with ``conf``: an earlier success, a running one, or a new one."""
        row = self.board.add(dag_id)
        runs = [run for run in self.api.runs(dag_id) if _asks_for(run, conf)]
        succeeded = [run for run in runs if run["state"] == "success"]
        if succeeded:
            row.done = 1
            row.end("done", f"done before ({succeeded[0]['dag_run_id']})")
            self.board.refresh()
            return succeeded[0]
        active = [str(run["dag_run_id"]) for run in runs if run["state"] not in FINISHED]
        return self._follow(row, dag_id, active[0] if active else self.api.trigger(dag_id, conf))

    def _promote(self, trained: Json) -> None:
        """Follow the promotion that the registered challenger asks for by its asset event."""
        dag_id = f"{USE_CASE}_promote"
        row = self.board.add(dag_id)
        row.begin()

        def asked() -> Json | None:
            later = [run for run in self.api.runs(dag_id) if run["run_after"] >= trained["start_date"]]
            return later[0] if later else None

        run = self._poll(asked, _TRIGGERED_WITHIN_S, f"{dag_id} was not started by the new challenger")
        if run["state"] == "failed":
            self.api.clear(dag_id, str(run["dag_run_id"]))
        self._follow(row, dag_id, str(run["dag_run_id"]))

    def _follow(self, row: Row, dag_id: str, run_id: str) -> Json:
        row.begin()

        def finished() -> Json | None:
            run = self.api.run(dag_id, run_id)
            row.detail = count_states(self.api.task_instances(dag_id, run_id))
            return run if run["state"] in FINISHED else None

        run = self._poll(finished, _STEP_TIMEOUT_S, f"{dag_id} {run_id} is still running")
        if run["state"] == "failed":
            row.end("failed", run_id)
            self.board.refresh()
            raise RunFailed(explain_failure(self.api, self.layout, run))
        row.done = 1
        row.end("done", row.detail)
        self.board.refresh()
        return run

    def _backfill(self) -> None:
        """Backfill the week with the ``airflow`` command and follow each day to its monitoring."""
        rows = {f"{USE_CASE}_{stage}": self.board.add(f"{USE_CASE}_{stage}", len(BACKFILL)) for stage in CHAIN}
        self._clear_failed(rows)
        if not self._all_done(rows):
            for row in rows.values():
                row.begin()
            self._create_backfill(f"{USE_CASE}_{CHAIN[0]}")
            self._poll(lambda: self._all_done(rows) or None, _STEP_TIMEOUT_S, "the backfill is still running")
        for row in rows.values():
            row.end("done", f"{BACKFILL[0]} .. {BACKFILL[-1]}")
        self.board.refresh()

    def _create_backfill(self, dag_id: str) -> None:
        active = [found for found in self.api.backfills(dag_id) if found["completed_at"] is None]
        runs = _newest_by_key(self.api.runs(dag_id))
        # Airflow takes one backfill a DAG at a time; an interrupted demo's goes on by itself
        if active or all(key in runs for key in BACKFILL):
            return
        span = ("--from-date", BACKFILL[0], "--to-date", BACKFILL[-1], "--max-active-runs", "4")
        airflow_command(self.layout, "backfill", "create", "--dag-id", dag_id, *span)

    def _clear_failed(self, rows: dict[str, Row]) -> None:
        """Ask again for what an earlier demo left failed; runs that follow a day are started only once."""
        for dag_id in rows:
            for run in _newest_by_key(self.api.runs(dag_id)).values():
                if run["state"] == "failed":
                    self.api.clear(dag_id, str(run["dag_run_id"]))

    def _all_done(self, rows: dict[str, Row]) -> bool:
        for dag_id, row in rows.items():
            runs = _newest_by_key(self.api.runs(dag_id))
            for run in runs.values():
                if run["state"] == "failed":
                    row.end("failed", run["partition_key"])
                    self.board.refresh()
                    raise RunFailed(explain_failure(self.api, self.layout, run))
            row.done = sum(run["state"] == "success" for run in runs.values())
            active = sorted(key for key, run in runs.items() if run["state"] not in FINISHED)
            row.detail = " ".join(key[5:] for key in active)
            if row.done == row.total and row.state == "running":
                row.end("done", "")
        return all(row.done == row.total for row in rows.values())

    def _poll(self, ask: Callable[[], _Answer | None], timeout_s: float, otherwise: str) -> _Answer:
        deadline = time.monotonic() + timeout_s
        while (answer := ask()) is None:
            self.board.refresh()
            if time.monotonic() > deadline:
                raise RunTimeout(f"{otherwise} after {timeout_s:.0f} s; see {self.layout.airflow_url}")
            # without a scheduler nothing would ever change
            self.stack.require_running()
            time.sleep(_POLL_S)
        self.board.refresh()
        return answer


def explain_failure(api: AirflowApi, layout: Layout, run: Json) -> str:
    """Which task of a failed run failed, the end of its log, and where all of it is."""
    dag_id, run_id = str(run["dag_id"]), str(run["dag_run_id"])
    failed = [task for task in api.task_instances(dag_id, run_id) if task["state"] == "failed"]
    if not failed:
        place = f"{layout.airflow_url}/dags/{dag_id}/runs/{run_id}"
        return f"{dag_id} {run_id} failed without a failed task; see {place}"
    task = min(failed, key=lambda task: str(task["end_date"]))
    task_id, attempt, index = str(task["task_id"]), int(task["try_number"]), int(task["map_index"])
    folder = layout.logs / "tasks" / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
    if index >= 0:
        folder = folder / f"map_index={index}"
    key = f" for {run['partition_key']}" if run.get("partition_key") else ""
    lines = [line for line in api.log(dag_id, run_id, task_id, attempt, index) if "group::" not in line]
    end = "\n".join(lines[-20:])
    return (
        f"task {task_id} of {dag_id}{key} failed at try {attempt}; the end of its log:\n{end}\n"
        f"all of it: {folder / f'attempt={attempt}.log'}\n"
        f"in the UI: {layout.airflow_url}/dags/{dag_id}/runs/{run_id}/tasks/{task_id}"
    )


def print_summary(layout: Layout, stack: Stack, console: Console) -> None:
    """Print the tables that ``include.stack.summary`` reads from the lake, MLflow and Optuna, and where to look."""
    # this process is a command of its own: what the tables are read with is the services' environment
    os.environ.update(stack.environ())
    from include.stack.summary import summarize

    for title, rows in summarize(Settings.from_environ()):
        table = Table(title=title, title_justify="left", show_header=False)
        for row in rows:
            table.add_row(*(str(cell) for cell in row))
        console.print(table)
    console.print(f"Airflow {layout.airflow_url}   MLflow {layout.mlflow_url}   logins: make passwords", soft_wrap=True)


def _asks_for(run: Json, conf: Json) -> bool:
    # a run carries the defaults of its form too
    return all((run["conf"] or {}).get(name) == value for name, value in conf.items())


def _newest_by_key(runs: list[Json]) -> dict[str, Json]:
    """The latest of the runs of each day that the demo backfills."""
    found: dict[str, Json] = {}
    for run in runs:
        key = run["partition_key"]
        if key in BACKFILL:
            found[key] = max(found.get(key, run), run, key=lambda run: str(run["run_after"]))
    return found


def run_demo(layout: Layout, console: Console) -> int:
    """Start the stack if needed, play the demo, print the summary; returns the exit status."""
    began = time.monotonic()
    with PartsProgress(console) as progress:
        stack = Stack(layout, progress.report)
        created = stack.up()
        ensure_pools(layout)
    ready = time.monotonic() - began
    if created:
        print_logins(layout, console)
    with Board(console) as board:
        Demo(layout, stack, board).play()
    print_summary(layout, stack, console)
    total = time.monotonic() - began
    console.print(f"[green]done in {total:.0f} s[/] ({ready:.0f} s to start); the services stay up: make down")
    return 0
