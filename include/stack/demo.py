"""The demo: bootstrap, train, promote and backfill the flights use case, with progress and a summary.

The demo acts like a user: it triggers DAG runs over the REST API and creates the backfill with the ``airflow``
command. It does not repeat the steps that an earlier demo has finished.
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
from include.stack.airflow_cli import airflow_command
from include.stack.api import FINISHED, AirflowApi, Json, RunTimeout
from include.stack.demo_board import Board, Row, count_states
from include.stack.failures import explain_failure
from include.stack.layout import Layout
from include.stack.logins import print_logins
from include.stack.progress import PartsProgress
from include.stack.stack import Stack

_Answer = TypeVar("_Answer")
USE_CASE = "flights"
BOOTSTRAP = {"from": "2013-01-01", "to": "2013-10-31"}
BACKFILL = partitions.key_range("2013-11-01", "2013-11-07")
# steps that each of the seven days goes through; partitioned assets trigger one after the other
CHAIN = ("ingest", "features", "score", "monitor")
DAGS = tuple(f"{USE_CASE}_{step}" for step in ("bootstrap", "train", "promote", *CHAIN))
_POLL_S = 1.0
_STEP_TIMEOUT_S = 1800.0
# the asset event of a registered challenger schedules the promotion; after a minute no promotion will come
_TRIGGERED_WITHIN_S = 60.0


class RunFailed(LifecycleError):
    """A DAG run of the demo failed; the message names the task, the end of its log and the log file."""


class Demo:
    """One demo on one stack."""

    def __init__(self, layout: Layout, stack: Stack, board: Board) -> None:
        self.layout = layout
        self.stack = stack
        self.board = board
        self.api = AirflowApi.from_layout(layout)

    def play(self) -> None:
        """Run every step and show the progress; a step that an earlier demo has finished is only shown.

        Raises:
            RunFailed: a task failed after its last retry.
            RunTimeout: a step took longer than half an hour.
        """
        self.api.wait_for_dags(DAGS)
        for dag_id in DAGS:
            self.api.unpause(dag_id)
        self._finish_once(f"{USE_CASE}_bootstrap", BOOTSTRAP)
        trained = self._finish_once(f"{USE_CASE}_train", {})
        self._promote(trained)
        self._backfill()

    def _finish_once(self, dag_id: str, conf: Json) -> Json:
        """Return a successful DAG run of ``dag_id`` with ``conf``: an earlier one, an active one, or a new one."""
        row = self.board.add(dag_id)
        runs = [run for run in self.api.runs(dag_id) if _has_conf(run, conf)]
        succeeded = [run for run in runs if run["state"] == "success"]
        if succeeded:
            row.done = 1
            row.end("done", f"done before ({succeeded[0]['dag_run_id']})")
            self.board.refresh()
            return succeeded[0]
        active = [str(run["dag_run_id"]) for run in runs if run["state"] not in FINISHED]
        return self._follow(row, dag_id, active[0] if active else self.api.trigger(dag_id, conf))

    def _promote(self, trained: Json) -> None:
        """Follow the promotion that the asset event of the registered challenger starts."""
        dag_id = f"{USE_CASE}_promote"
        row = self.board.add(dag_id)
        row.begin()

        def started() -> Json | None:
            later = [run for run in self.api.runs(dag_id) if run["run_after"] >= trained["start_date"]]
            return later[0] if later else None

        run = self._poll(started, _TRIGGERED_WITHIN_S, f"{dag_id} was not started by the new challenger")
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
        """Backfill the week with the ``airflow`` command and follow each day until it is monitored."""
        rows = {f"{USE_CASE}_{step}": self.board.add(f"{USE_CASE}_{step}", len(BACKFILL)) for step in CHAIN}
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
        # Airflow allows one backfill a DAG at a time; the backfill of an interrupted demo continues by itself
        if active or all(key in runs for key in BACKFILL):
            return
        span = ("--from-date", BACKFILL[0], "--to-date", BACKFILL[-1], "--max-active-runs", "4")
        airflow_command(self.layout, "backfill", "create", "--dag-id", dag_id, *span)

    def _clear_failed(self, rows: dict[str, Row]) -> None:
        """Clear the DAG runs that an earlier demo left failed: an asset starts the DAG run of a day only once."""
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
            # stop waiting when a service has ended for good: without a scheduler the answer never changes
            self.stack.require_running()
            time.sleep(_POLL_S)
        self.board.refresh()
        return answer


def print_summary(layout: Layout, stack: Stack, console: Console) -> None:
    """Print the tables that ``demo_summary`` reads from the lake, MLflow and Optuna, and the addresses of the UIs."""
    # this process is a command of the user's shell: reading the lake needs the services' environment
    os.environ.update(stack.environ())
    from include.stack.demo_summary import summarize

    for title, rows in summarize(Settings.from_environ()):
        table = Table(title=title, title_justify="left", show_header=False)
        for row in rows:
            table.add_row(*(str(cell) for cell in row))
        console.print(table)
    console.print(f"Airflow {layout.airflow_url}   MLflow {layout.mlflow_url}   logins: make passwords", soft_wrap=True)


def _has_conf(run: Json, conf: Json) -> bool:
    # the conf of a DAG run also holds the defaults of its form
    return all((run["conf"] or {}).get(name) == value for name, value in conf.items())


def _newest_by_key(runs: list[Json]) -> dict[str, Json]:
    """Return the newest DAG run of each day that the demo backfills, by partition key."""
    found: dict[str, Json] = {}
    for run in runs:
        key = run["partition_key"]
        if key in BACKFILL:
            found[key] = max(found.get(key, run), run, key=lambda run: str(run["run_after"]))
    return found


def run_demo(layout: Layout, console: Console) -> int:
    """Start the stack if needed, play the demo and print the summary; return the exit status."""
    began = time.monotonic()
    with PartsProgress(console) as progress:
        stack = Stack(layout, progress.report)
        created = stack.up()
    ready = time.monotonic() - began
    if created:
        print_logins(layout, console)
    with Board(console) as board:
        Demo(layout, stack, board).play()
    print_summary(layout, stack, console)
    total = time.monotonic() - began
    console.print(f"[green]done in {total:.0f} s[/] ({ready:.0f} s to start); the services stay up: make down")
    return 0
