"""The stack of the end-to-end tests, and the states of the chain that they start from.

The states are fixtures of the package, each built on the one before: a test asks for the state that it needs,
alone or among the others.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from include.core import partitions
from include.core.settings import Settings
from include.lake.records import Attempt
from include.spec.loading import load_use_case
from include.stack.api import Json
from include.stack.layout import Layout
from include.stack.pools import ensure_pools
from include.stack.stack import Stack
from include.steps.handover import Proposal
from include.steps.promote import deciding
from include.steps.workspace import Workspace
from tests.e2e.deployment import CASE, CHAIN, Deployment, dag, kill_when

FIRST, LAST = "2013-01-01", "2013-02-09"
LOADED = partitions.key_range(FIRST, LAST)
DAYS = partitions.key_range("2013-02-10", "2013-02-11")
TRIALS = 4


@pytest.fixture(scope="package")
def environ() -> Iterator[pytest.MonkeyPatch]:
    """The environment without the settings of any other stack: no test may write into somebody's lake."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith(("LIFECYCLE_", "MLFLOW_", "AIRFLOW")):
                patch.delenv(name)
        patch.setenv("LIFECYCLE_USE_CASES", str(Path(__file__).parent / "use_cases"))
        # whoever is not producing after these seconds is not going to
        patch.setenv("LIFECYCLE_INPUTS_GRACE_SECONDS", "4")
        yield patch


@pytest.fixture(scope="package")
def deployment(environ: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """A stack with its own PostgreSQL, ports and folder; stopped and deleted at the end, whatever happens."""
    # PostgreSQL's socket needs a short path, and pytest's folders are closed to the server's user
    parent = Path(tempfile.mkdtemp(prefix="e2e-", dir="/tmp"))
    airflow_port, mlflow_port = _free_ports(2)
    layout = Layout(parent / "home", airflow_port, mlflow_port)
    stack = Stack(layout)
    # a `kill` of the test run ends like Ctrl-C: with the stack stopped
    before = signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated"))
    try:
        stack.up()
        ensure_pools(layout)
        for name, value in stack.environ().items():
            if name.startswith(("LIFECYCLE_", "MLFLOW_", "FEAST_", "GX_")):
                environ.setenv(name, value)
        found = Deployment(layout, stack, Workspace(Settings.from_environ(), load_use_case(CASE)))
        found.api.wait_for_dags([dag(stage) for stage in ("bootstrap", "train", "promote", *CHAIN)])
        yield found
    finally:
        stack.down()
        shutil.rmtree(parent, ignore_errors=True)
        signal.signal(signal.SIGTERM, before)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        return [int(opened.getsockname()[1]) for opened in sockets]
    finally:
        for opened in sockets:
            opened.close()


@pytest.fixture(scope="package")
def bootstrapped(deployment: Deployment) -> Deployment:
    """Forty days are landed and featurized."""
    deployment.run("bootstrap", {"from": FIRST, "to": LAST})
    return deployment


@dataclass(frozen=True)
class Refused:
    """Runs that must fail, and how the lake was before them."""

    runs: dict[str, tuple[str, str]]
    before: dict[str, int | None]


@pytest.fixture(scope="package")
def refused(bootstrapped: Deployment) -> Refused:
    """Runs that were asked for what there is not; the one that scores ended before any model was promoted."""
    before = bootstrapped.versions()
    runs = {
        "no champion": ("score", bootstrapped.start("score", key=LAST)),
        "key outside history": ("ingest", bootstrapped.start("ingest", key="2014-01-05")),
        "unknown name": ("ingest", bootstrapped.start("ingest", {"partitions": DAYS[0]})),
        "hole": ("features", bootstrapped.start("features", key="2013-02-12")),
    }
    bootstrapped.finish(*runs["no champion"])
    return Refused(runs, before)


@dataclass(frozen=True)
class Trained:
    """A training in which every worker was killed once."""

    run: Json
    killed: int
    began: float


@pytest.fixture(scope="package")
def trained(bootstrapped: Deployment, refused: Refused) -> Trained:
    """A challenger is registered, although the workers of its search were killed in the middle of a trial."""
    began = time.time()
    run_id = bootstrapped.start("train", {"trials": TRIALS})
    killed = _kill_workers_at_a_trial(bootstrapped, run_id)
    return Trained(bootstrapped.succeed("train", run_id), killed, began)


def _kill_workers_at_a_trial(deployment: Deployment, run_id: str) -> int:
    running = "SELECT 1 FROM trials WHERE state = 'RUNNING'"

    def trial_runs() -> bool:
        return bool(deployment.stack.postgres.query("optuna", running))

    def both_work() -> Any:
        # a trial runs: then its worker is beyond starting
        found = deployment.processes("train", run_id, "search")
        return found if found and _has_trials(deployment) and trial_runs() else None

    workers = deployment.until(both_work, "a worker that runs a trial", timeout_s=180, poll_s=0.05)
    return len(workers) if kill_when(workers, trial_runs) else 0


def _has_trials(deployment: Deployment) -> bool:
    return deployment.stack.postgres.query("optuna", "SELECT to_regclass('trials') IS NOT NULL") == ["t"]


@pytest.fixture(scope="package")
def promoted(bootstrapped: Deployment, trained: Trained) -> Json:
    """The promotion that the challenger's asset event asked for."""

    def asked() -> Json | None:
        return next(iter(bootstrapped.api.runs(dag("promote"))), None)

    run = bootstrapped.until(asked, "a promotion started by the challenger")
    return bootstrapped.succeed("promote", str(run["dag_run_id"]))


@dataclass(frozen=True)
class Backfilled:
    """Two days that went through the chain side by side; a publish was killed half-way."""

    runs: dict[tuple[str, str], Json]
    half_published: int


@pytest.fixture(scope="package")
def backfilled(bootstrapped: Deployment, refused: Refused, promoted: Json) -> Backfilled:
    """Two days are ingested by a backfill and have flowed to their monitoring."""
    for stage, run_id in refused.runs.values():
        # an ingest under way would keep one of these waiting for it
        bootstrapped.finish(stage, run_id)
    since = bootstrapped.backfill("ingest", DAYS, "--max-active-runs", "2")
    half_published = _kill_publish_half_way(bootstrapped, DAYS[0])
    runs = bootstrapped.flowed(CHAIN, DAYS, since)
    return Backfilled({(str(run["dag_id"]), str(run["partition_key"])): run for run in runs}, half_published)


def _kill_publish_half_way(deployment: Deployment, key: str) -> int:
    """Kill the task that publishes the features of ``key`` between two tables; how many were published."""

    def publishing() -> Any:
        runs = [run for run in deployment.api.runs(dag("features")) if run["partition_key"] == key]
        return deployment.processes("features", str(runs[0]["dag_run_id"]), "publish") if runs else None

    def published() -> int:
        lake = deployment.workspace.lake
        return sum(bool(lake.published(table, [key])) for table in deployment.feature_tables)

    processes = deployment.until(lambda: publishing() or None, f"features of {key} being published", 300, 0.05)
    return published() if kill_when(processes, lambda: published() > 0) else -1


@dataclass(frozen=True)
class Retrained:
    """A second champion, trained because monitoring asked for it.

    Attributes:
        training, judging: the runs that the request started and its challenger woke.
        before: which version had scored each day before it was there.
    """

    training: Json
    judging: Json
    before: dict[str, set[int]]


@pytest.fixture(scope="package")
def retrained(bootstrapped: Deployment, backfilled: Backfilled, promoted: Json) -> Retrained:
    """Monitoring by hand asks for a training; what comes of it becomes champion.

    Three test days are too few for the gates to prefer one to the other, so they are overruled here: what is
    tested is who scores which day afterwards.
    """
    scored = {day: bootstrapped.scored_by(day) for day in DAYS}
    bootstrapped.run("monitor", key=DAYS[-1])
    training = bootstrapped.succeed("train", f"requested__{DAYS[-1]}")
    judging = _judged_after(bootstrapped, promoted)
    judged = bootstrapped.api.xcom(dag("promote"), str(judging["dag_run_id"]), "judge")
    overruled = Proposal.model_validate({**judged, "change": True})
    deciding.promote(bootstrapped.workspace, overruled, "test", Attempt(CASE, dag("promote"), "overruled"))
    return Retrained(training, judging, scored)


def _judged_after(deployment: Deployment, first: Json) -> Json:
    """The run that judges the next challenger, once it has succeeded."""

    def asked() -> Json | None:
        runs = deployment.api.runs(dag("promote"))
        return next((run for run in runs if run["dag_run_id"] != first["dag_run_id"]), None)

    run = deployment.until(asked, "a promotion started by the second challenger")
    return deployment.succeed("promote", str(run["dag_run_id"]))
