"""The chain on a few weeks of real flights: one lake made once, and copies of it for tests that change it.

Nothing of Airflow and no server: SQLite holds registry, studies and MLflow, all in temporary folders.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import yaml
from mlflow import MlflowClient

from include.core import partitions
from include.core.partitions import Span
from include.core.settings import Settings
from include.lake.lake import Lake
from include.lake.records import Attempt
from include.sources.adapter import REFERENCE
from include.spec.use_case import UseCase
from include.steps import features, ingest, publishing
from include.steps.handover import Published, Stages
from include.steps.promote import deciding
from include.steps.score import predicting
from include.steps.train import registering, search, training_sets
from include.steps.train.search import search_here
from include.steps.workspace import Workspace
from tests.unit import signing_case
from tests.unit.audit_case import pass_audit
from tests.unit.flights_case import source_cache
from tests.unit.folder_case import load_from

# 2013-11-03 has 25 hours
FIRST, LAST = "2013-09-27", "2013-11-10"
# what the model of the lake was trained with, so that it may score from there on
AS_OF = "2013-11-05"
USERS = "users.lock"
TRAINING = {
    "test_periods": 4,
    "valid_periods": 4,
    "trials": 2,
    "workers": 1,
    "calibration": "none",
    "resamples": 100,
}


def attempt(name: str = "first", dag: str = "autumn_ingest", number: int = 1) -> Attempt:
    return Attempt("autumn", dag, name, number)


def span(first: str, last: str | None = None) -> Span:
    """Return the span ``first``..``last``; without ``last``, the span of one partition."""
    return Span(first=first, last=last or first)


@functools.cache
def temporary() -> Path:
    """Return a folder that the processes of one test run share; the last one to end removes it."""
    test_run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or f"{os.getpid()}-{time.time_ns()}"
    root = Path(tempfile.gettempdir())
    for left in root.glob("chain-*"):
        # a killed process removes nothing
        if time.time() - left.stat().st_mtime > 3600:
            _remove_unused(left)
    folder = root / f"chain-{test_run}"
    folder.mkdir(exist_ok=True)
    users = (folder / USERS).open("w", encoding="utf-8")
    fcntl.flock(users, fcntl.LOCK_SH)

    def leave() -> None:
        users.close()
        _remove_unused(folder)

    atexit.register(leave)
    return folder


def _remove_unused(folder: Path) -> None:
    with contextlib.suppress(OSError), (folder / USERS).open("r+", encoding="utf-8") as users:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)


def once(name: str, build: Callable[[Path], None]) -> Path:
    """Return a folder that ``build`` filled; the first process that needs it builds it."""
    folder, done = temporary() / name, temporary() / f"{name}.done"
    with (temporary() / f"{name}.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            build(folder)
            done.touch()
    return folder


def use_case(name: str, **values: Any) -> UseCase:
    """Load a use case ``name`` that is like flights except for ``values``."""
    folder = temporary() / "use_cases"
    (folder / name).mkdir(parents=True, exist_ok=True)
    own = {"name": name, "like": "flights", "features": {"service": f"{name}_v1"}, **values}
    # whole at every moment: other processes of the same test run read it
    fresh = folder / name / f"{os.getpid()}.new"
    fresh.write_text(yaml.safe_dump(own), encoding="utf-8")
    fresh.replace(folder / name / f"{name}.yaml")
    return load_from(folder, name)


def autumn() -> UseCase:
    waived = {"baselines_waived": "four test days say little"}
    case = use_case("autumn", history={"first": FIRST, "last": LAST}, training=TRAINING, gates=waived)
    # a spec adds to the families of the one it is like; here one is enough
    training = case.training.model_copy(update={"families": {"logistic": case.training.families["logistic"]}})
    return case.model_copy(update={"training": training})


def settings_in(folder: Path) -> Settings:
    """Return settings whose every part lies in ``folder``; the unpacked source is shared."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "sources").is_symlink():
        (folder / "sources").symlink_to(source_cache())
    return Settings.in_folder(folder, **signing_case.shared())


def land(workspace: Workspace, first: str, last: str, by: Attempt) -> Published:
    """Ingest ``first``..``last``: land, audit, publish."""
    stages = ingest.land(workspace, span(first, last), by)
    publishing.audit(workspace, stages, by)
    return publishing.publish(workspace, stages, by)


def compute_features(workspace: Workspace, first: str, last: str, by: Attempt) -> Published:
    """Features of ``first``..``last``, published without the audit that tests of the suites cover."""
    return publish(workspace, features.stage(workspace, span(first, last), by), by)


def score(workspace: Workspace, first: str, last: str, by: Attempt, model: str = predicting.AS_OF_CLOCK) -> Published:
    return publish(workspace, predicting.stage(workspace, span(first, last), model, by), by)


def publish(workspace: Workspace, stages: Stages, by: Attempt) -> Published:
    """Publish stages whose suites are another test's subject."""
    pass_audit(workspace, stages)
    return publishing.publish(workspace, stages, by)


@functools.cache
def landed() -> Workspace:
    """Raw tables and features of the whole autumn. Shared: change a ``copy`` of it."""
    return Workspace(settings_in(once("landed", _land_autumn)), autumn())


def _land_autumn(folder: Path) -> None:
    workspace = Workspace(settings_in(folder), autumn())
    land(workspace, FIRST, LAST, attempt())
    compute_features(workspace, FIRST, LAST, attempt(dag="autumn_features"))
    features.apply_definitions(workspace)


@functools.cache
def trained() -> Workspace:
    """``landed`` with a champion trained as of ``AS_OF``, and the days from there on scored."""
    return Workspace(settings_in(once("trained", _train_autumn)), autumn())


def _train_autumn(folder: Path) -> None:
    workspace = copy(landed(), folder)
    by = attempt("train", "autumn_train")
    # MLflow would otherwise keep the files in the working directory
    client = MlflowClient(workspace.settings.mlflow_tracking_uri)
    client.create_experiment("autumn", artifact_location=str(folder / "artifacts"))
    frozen = training_sets.freeze(workspace, AS_OF, by)
    search_here(workspace, frozen)
    fitted = search.fit(workspace, frozen, by)
    registering.register(workspace, fitted, by)
    promote_by = attempt("promote", "autumn_promote")
    proposal = deciding.propose(workspace, None, promote_by)
    assert proposal.change
    deciding.promote(workspace, proposal, "auto", promote_by)
    score(workspace, AS_OF, LAST, attempt("score", "autumn_score"))


def copy(workspace: Workspace, folder: Path) -> Workspace:
    """``workspace`` with a lake, registry, ledger and model cache of its own; MLflow stays shared."""
    origin = Path(workspace.settings.lake_root).parent
    settings = settings_in(folder).model_copy(update={"mlflow_tracking_uri": workspace.settings.mlflow_tracking_uri})
    if not (origin / "mlflow.db").exists():
        settings = settings_in(folder)
    shutil.copytree(origin / "lake", folder / "lake", ignore=shutil.ignore_patterns("_stages"))
    if (origin / "registry.db").exists():
        shutil.copy(origin / "registry.db", folder / "registry.db")
    # the models cache is the copy's own: a test may change a file in it
    if (origin / "work" / "models").exists():
        shutil.copytree(origin / "work" / "models", folder / "work" / "models")
    return Workspace(settings, workspace.case)


def versions(lake: Lake, case: str = "autumn") -> dict[str, int | None]:
    """Every table's current version: equal before and after says that nothing was published."""
    return {table: lake.version(table) for table in lake.tables(case)}


def fingerprints(lake: Lake, key: str | None = None, case: str = "autumn") -> dict[tuple[str, str], str]:
    """Content by table and partition: of ``key``, or of every one."""
    return {
        (table, record.key): record.fingerprint
        for table in lake.tables(case)
        for record in lake.records(table, None if key is None else [key]).values()
    }


def rows_of(workspace: Workspace, table: str, key: str) -> pa.Table:
    return workspace.lake.dataset(table, [key]).to_table()


def until(workspace: Workspace, folder: Path, key: str) -> Workspace:
    """Make a lake that holds only the raw rows that were known at the clock of ``key``."""
    case = workspace.case
    settings = settings_in(folder).model_copy(update={"mlflow_tracking_uri": workspace.settings.mlflow_tracking_uri})
    known = Workspace(settings, case)
    clock = pa.scalar(partitions.clock(key, case.time_zone), pa.timestamp("us", "UTC"))
    for name in case.raw:
        table = case.table("raw", name)
        rows = workspace.lake.dataset(table).to_table()
        if not case.raw[name].reference:
            rows = rows.filter(pc.less_equal(rows["ds"], key))
        if "known_at" in rows.column_names:
            rows = rows.filter(pc.less(rows["known_at"], clock))
        keys = [found for found in workspace.lake.records(table) if found == REFERENCE or found <= key]
        staged = known.lake.stage(table, rows.sort_by("ds").to_reader(), keys, attempt(), case.raw[name].key)
        known.lake.publish(staged, attempt())
    return known
