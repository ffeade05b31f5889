"""Fixtures of the end-to-end tests: the stack, and the states of the chain that tests start from.

The states have package scope and build on each other. A test asks for the state that it needs, so it also runs alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from include.core import fault_points, partitions
from include.lake.records import Attempt
from include.stack.api import Json
from include.steps.handover import Proposal
from include.steps.promote import deciding
from tests.e2e.deployment import CASE, CHAIN, Deployment, clean_environ, dag, own_stack

FIRST, LAST = "2013-01-01", "2013-02-09"
LOADED = partitions.key_range(FIRST, LAST)
DAYS = partitions.key_range("2013-02-10", "2013-02-11")
TRIALS = 4
MID_PUBLISH, MID_TRIAL = "publish.between_tables", "study.trial_running"


@pytest.fixture(scope="package")
def environ() -> Iterator[pytest.MonkeyPatch]:
    with clean_environ() as patch:
        yield patch


@dataclass(frozen=True)
class Faults:
    """The fault points of the stack's processes; each acts once after it was armed."""

    folder: Path

    def arm(self, point: str) -> None:
        (self.folder / point).touch()

    def acted(self, point: str) -> bool:
        return not (self.folder / point).exists()


@pytest.fixture(scope="package")
def faults(environ: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Faults:
    """Switch on the fault points at which the stack's processes will die or halt."""
    found = Faults(tmp_path_factory.mktemp("faults"))
    environ.setenv(fault_points.POINT, f"{MID_PUBLISH}:{dag('features')},{MID_TRIAL}=stop")
    environ.setenv(fault_points.ONCE, str(found.folder))
    return found


@pytest.fixture(scope="package")
def deployment(environ: pytest.MonkeyPatch, faults: Faults) -> Iterator[Deployment]:
    with own_stack(environ) as found:
        yield found


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
def trained(bootstrapped: Deployment, faults: Faults, refused: Refused) -> Trained:
    """Train and register a challenger while the workers of its search are killed in the middle of a trial."""
    began = time.time()
    faults.arm(MID_TRIAL)
    run_id = bootstrapped.start("train", {"trials": TRIALS})
    killed = _kill_workers_at_a_trial(bootstrapped, faults, run_id)
    return Trained(bootstrapped.succeed("train", run_id), killed, began)


def _kill_workers_at_a_trial(deployment: Deployment, faults: Faults, run_id: str) -> int:
    deployment.until(lambda: faults.acted(MID_TRIAL) or None, "a worker that runs a trial")
    # this worker is halted in its trial, so no other worker can end either: each waits for that trial
    workers = deployment.processes("train", run_id, "search")
    for worker in workers:
        with suppress(psutil.NoSuchProcess):
            worker.kill()
    return len(workers)


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
    """

    runs: dict[tuple[str, str], Json]


@pytest.fixture(scope="package")
def backfilled(bootstrapped: Deployment, faults: Faults, refused: Refused, promoted: Json) -> Backfilled:
    """Backfill the ingest of two days and wait until both are monitored; kill one publish of features half-way."""
    for step, run_id in refused.runs.values():
        # an active ingest would keep one of these DAG runs waiting for it
        bootstrapped.finish(step, run_id)
    faults.arm(MID_PUBLISH)
    since = bootstrapped.backfill("ingest", DAYS, "--max-active-runs", "2")
    runs = bootstrapped.flowed(CHAIN, DAYS, since)
    assert faults.acted(MID_PUBLISH), "no publish of features came between two tables"
    return Backfilled({(str(run["dag_id"]), str(run["partition_key"])): run for run in runs})


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
