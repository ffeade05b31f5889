"""Fixtures of the end-to-end tests: the stack, and the states of the chain that tests start from.

The states have package scope and build on each other. A test asks for the state that it needs, so it also runs alone.
"""

from __future__ import annotations

import os
import shutil
import signal
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
from include.stack.stack import Stack
from include.steps.handover import Proposal
from include.steps.promote import deciding
from include.steps.workspace import Workspace
from tests.e2e.deployment import CASE, CHAIN, Deployment, dag, kill_when
from tests.ports import free_ports

FIRST, LAST = "2013-01-01", "2013-02-09"
LOADED = partitions.key_range(FIRST, LAST)
DAYS = partitions.key_range("2013-02-10", "2013-02-11")
TRIALS = 4


@pytest.fixture(scope="package")
def environ() -> Iterator[pytest.MonkeyPatch]:
    """Clear the settings of every other stack from the environment, so that no test writes into a foreign lake."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith(("LIFECYCLE_", "MLFLOW_", "AIRFLOW")):
                patch.delenv(name)
        patch.setenv("LIFECYCLE_USE_CASES", str(Path(__file__).parent / "use_cases"))
        # give up on missing inputs after 4 s: the tests' producers start at once or never
        patch.setenv("LIFECYCLE_INPUTS_GRACE_SECONDS", "4")
        yield patch


@pytest.fixture(scope="package")
def deployment(environ: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """Start a stack with its own PostgreSQL, ports and folder; stop and delete it at the end, also after a failure."""
    # PostgreSQL's socket needs a short path, and the server's user cannot enter pytest's folders
    parent = Path(tempfile.mkdtemp(prefix="e2e-", dir="/tmp"))
    layout = Layout(parent / "home", *free_ports())
    stack = Stack(layout)
    # SIGTERM ends the tests like Ctrl-C, so that the stack is stopped
    before = signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated"))
    try:
        stack.up()
        for name, value in stack.environ().items():
            if name.startswith(("LIFECYCLE_", "MLFLOW_", "FEAST_", "GX_")):
                environ.setenv(name, value)
        found = Deployment(layout, stack, Workspace(Settings.from_environ(), load_use_case(CASE)))
        found.api.wait_for_dags([dag(step) for step in ("bootstrap", "train", "promote", *CHAIN)])
        yield found
    finally:
        stack.down()
        shutil.rmtree(parent, ignore_errors=True)
        signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="package")
def bootstrapped(deployment: Deployment) -> Deployment:
    """Bootstrap forty days: raw tables landed, features published."""
    deployment.run("bootstrap", {"from": FIRST, "to": LAST})
    return deployment


@dataclass(frozen=True)
class Refused:
    """DAG runs that must fail, and the lake before them.

    Attributes:
        runs: step and run id, by the reason of the failure.
        before: Delta version of each table before these DAG runs.
    """

    runs: dict[str, tuple[str, str]]
    before: dict[str, int | None]


@pytest.fixture(scope="package")
def refused(bootstrapped: Deployment) -> Refused:
    """Start DAG runs that ask for missing things; the one of score has ended before any model is promoted."""
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
    """A training whose search workers were all killed once.

    Attributes:
        run: the DAG run of the training.
        killed: number of killed processes.
        began: start of the training, in seconds since the epoch.
    """

    run: Json
    killed: int
    began: float


@pytest.fixture(scope="package")
def trained(bootstrapped: Deployment, refused: Refused) -> Trained:
    """Train and register a challenger while the workers of its search are killed in the middle of a trial."""
    began = time.time()
    run_id = bootstrapped.start("train", {"trials": TRIALS})
    killed = _kill_workers_at_a_trial(bootstrapped, run_id)
    return Trained(bootstrapped.succeed("train", run_id), killed, began)


def _kill_workers_at_a_trial(deployment: Deployment, run_id: str) -> int:
    running = "SELECT 1 FROM trials WHERE state = 'RUNNING'"

    def trial_runs() -> bool:
        return bool(deployment.stack.postgres.query("optuna", running))

    def working() -> Any:
        # a running trial shows that its worker has finished starting
        found = deployment.processes("train", run_id, "search")
        return found if found and _has_trials(deployment) and trial_runs() else None

    workers = deployment.until(working, "a worker that runs a trial", timeout_s=180, poll_s=0.05)
    return len(workers) if kill_when(workers, trial_runs) else 0


def _has_trials(deployment: Deployment) -> bool:
    return deployment.stack.postgres.query("optuna", "SELECT to_regclass('trials') IS NOT NULL") == ["t"]


@pytest.fixture(scope="package")
def promoted(bootstrapped: Deployment, trained: Trained) -> Json:
    """Wait for the promotion that the challenger's asset event starts, and return its DAG run."""

    def started() -> Json | None:
        return next(iter(bootstrapped.api.runs(dag("promote"))), None)

    run = bootstrapped.until(started, "a promotion started by the challenger")
    return bootstrapped.succeed("promote", str(run["dag_run_id"]))


@dataclass(frozen=True)
class Backfilled:
    """Two days that went through the chain in parallel, with one publish killed half-way.

    Attributes:
        runs: DAG runs by DAG id and partition key.
        half_published: number of tables that were published at the kill; -1 if the task ended before the kill.
    """

    runs: dict[tuple[str, str], Json]
    half_published: int


@pytest.fixture(scope="package")
def backfilled(bootstrapped: Deployment, refused: Refused, promoted: Json) -> Backfilled:
    """Backfill the ingest of two days and wait until both are monitored."""
    for step, run_id in refused.runs.values():
        # an active ingest would keep one of these DAG runs waiting for it
        bootstrapped.finish(step, run_id)
    since = bootstrapped.backfill("ingest", DAYS, "--max-active-runs", "2")
    half_published = _kill_publish_half_way(bootstrapped, DAYS[0])
    runs = bootstrapped.flowed(CHAIN, DAYS, since)
    return Backfilled({(str(run["dag_id"]), str(run["partition_key"])): run for run in runs}, half_published)


def _kill_publish_half_way(deployment: Deployment, key: str) -> int:
    """Kill the task that publishes the features of ``key`` between two tables; return how many were published."""

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
        training: the DAG run that the request started.
        judging: the promotion that the new challenger started.
        before: model versions that had scored each day before.
    """

    training: Json
    judging: Json
    before: dict[str, set[int]]


@pytest.fixture(scope="package")
def retrained(bootstrapped: Deployment, backfilled: Backfilled, promoted: Json) -> Retrained:
    """Trigger monitoring, which asks for a training, and promote the new challenger.

    Three test days are too few for the gates to prefer a model, so this fixture overrules them. The tests check which
    version scores which day afterwards.
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
    """Wait until the promotion of the next challenger has succeeded, and return its DAG run."""

    def started() -> Json | None:
        runs = deployment.api.runs(dag("promote"))
        return next((run for run in runs if run["dag_run_id"] != first["dag_run_id"]), None)

    run = deployment.until(started, "a promotion started by the second challenger")
    return deployment.succeed("promote", str(run["dag_run_id"]))
