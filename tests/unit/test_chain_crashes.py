"""A kill between any two steps of a publish: readers see the old or the new, and the retry finishes it once."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from include.lake import table_files
from include.lake.lake import Lake
from include.steps import maintenance
from include.steps.handover import Stages
from include.steps.workspace import Workspace
from tests.unit import chain

pytestmark = pytest.mark.fault

TABLE = "autumn/raw/outcomes"
KEYS = ("2013-11-01", "2013-11-02", "2013-11-03")


class Killed(BaseException):
    """As kill -9: nothing of the code handles it."""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Three partitions of one row each, value 0."""
    workspace = Workspace(chain.settings_in(tmp_path), chain.autumn())
    attempt(workspace, 1, 0, "before")
    return workspace


def attempt(workspace: Workspace, number: int, value: int, name: str = "correction") -> None:
    by = chain.attempt(name, number=number)
    rows = pa.table({"value": pa.array([value] * len(KEYS), pa.int64()), "ds": list(KEYS)})
    stages = Stages(folders={TABLE: workspace.lake.stage(TABLE, rows.to_reader(), KEYS, by, ("value",)).path})
    chain.publish(workspace, stages, by)


def seen(workspace: Workspace) -> list[int]:
    return workspace.lake.dataset(TABLE).to_table()["value"].to_pylist()


def kill(monkeypatch: pytest.MonkeyPatch, owner: type | ModuleType, name: str, *, after: bool) -> None:
    """Die at the first call of a step: before it does anything, or when it has done all."""
    original = getattr(owner, name)

    def dying(*args, **kwargs):
        if after:
            original(*args, **kwargs)
        raise Killed

    monkeypatch.setattr(owner, name, dying)


STEPS = {
    "after staging": (Lake, "publish", False),
    "after the claim": (Lake, "_claim", True),
    "before the files are moved": (table_files, "move_in", False),
    "after the files are moved": (table_files, "move_in", True),
    "before the commit": (DeltaTable, "create_write_transaction", False),
    "after the commit": (DeltaTable, "create_write_transaction", True),
    "before the stage is removed": (Lake, "discard", False),
    "after the stage is removed": (Lake, "discard", True),
}
COMMITTED = ("after the commit", "before the stage is removed", "after the stage is removed")


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_and_the_next_attempt_publish_once(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    owner, name, after = STEPS[step]
    with monkeypatch.context() as patch:
        kill(patch, owner, name, after=after)
        with pytest.raises(Killed):
            attempt(workspace, 1, 1)
    assert seen(workspace) == [int(step in COMMITTED)] * len(KEYS)
    attempt(workspace, 2, 1)
    assert seen(workspace) == [1] * len(KEYS)
    by_correction = [record.key for record in workspace.lake.history(TABLE) if record.attempt.run_id == "correction"]
    assert sorted(by_correction) == list(KEYS)


@pytest.mark.parametrize("step", ["after the files are moved", "before the commit", "after the commit"])
def test_the_same_stage_published_again_publishes_once(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Only the publish task is retried: it finds the stage that another task's attempt wrote."""
    by = chain.attempt("correction")
    rows = pa.table({"value": pa.array([1] * len(KEYS), pa.int64()), "ds": list(KEYS)})
    stages = Stages(folders={TABLE: workspace.lake.stage(TABLE, rows.to_reader(), KEYS, by, ("value",)).path})
    owner, name, after = STEPS[step]
    with monkeypatch.context() as patch:
        kill(patch, owner, name, after=after)
        with pytest.raises(Killed):
            chain.publish(workspace, stages, by)
    chain.publish(workspace, stages, chain.attempt("correction", number=2))
    assert seen(workspace) == [1] * len(KEYS)
    assert len([1 for record in workspace.lake.history(TABLE) if record.attempt.run_id == "correction"]) == len(KEYS)


def test_what_killed_attempts_left_goes_with_maintenance(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2):
        with monkeypatch.context() as patch:
            kill(patch, DeltaTable, "create_write_transaction", after=False)
            with pytest.raises(Killed):
                attempt(workspace, number, 1)
    attempt(workspace, 3, 1)
    folder = Path(workspace.lake.uri(TABLE))
    assert len(list(folder.rglob("*.parquet"))) == 4 * len(KEYS)
    maintenance.vacuum(workspace, 0, dry_run=False)
    assert len(list(folder.rglob("ds=*/*.parquet"))) == len(KEYS)
    assert seen(workspace) == [1] * len(KEYS)
