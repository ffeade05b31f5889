"""Damaged files and damaged logs: noticed, named, and mended by publishing the partition again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake.exceptions import DeltaError

from include.lake.lake import Lake
from include.lake.records import Attempt
from include.steps import verify
from include.steps.workspace import Workspace
from tests.unit.small_source import small_workspace

pytestmark = pytest.mark.fault

TABLE, COPY = "flights/raw/tiny", "flights/features/copy"
KEYS = tuple(f"2013-11-{day:02}" for day in range(1, 13))
DAY = KEYS[4]


def publish(workspace: Workspace, run: str, keys: tuple[str, ...] = KEYS, table: str = TABLE) -> tuple[str, ...]:
    """Publish one commit a partition, of three rows each; return the partitions that changed."""
    changed: tuple[str, ...] = ()
    for key in keys:
        by = Attempt("flights", "flights_ingest", f"{run} {key}")
        rows = pa.table({"id": pa.array([1, 2, 3], pa.int64()), "name": ["one", "two", key], "ds": [key] * 3})
        read = {TABLE: workspace.lake.inputs(TABLE, [key])} if table != TABLE else {}
        stage = workspace.lake.stage(table, rows.to_reader(), [key], by, ("id",), read)
        changed += workspace.lake.publish(stage, by).published
    return changed


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = small_workspace(tmp_path, "SELECT 1")
    assert publish(made, "first") == KEYS
    return made


def file_of(workspace: Workspace, key: str = DAY) -> Path:
    (path,) = Path(workspace.settings.lake_root, TABLE, f"ds={key}").glob("*.parquet")
    return path


def log_of(workspace: Workspace, version: int, kind: str = "json") -> Path:
    return Path(workspace.settings.lake_root, TABLE, "_delta_log", f"{version:020}.{kind}")


def flip(file: Path) -> None:
    """Change one bit of the rows; the file keeps its size."""
    content = bytearray(file.read_bytes())
    content[content.index(b"two")] ^= 1
    file.write_bytes(content)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def differences(workspace: Workspace) -> list[str]:
    return [str(found) for found in verify.verify(workspace).differences]


@pytest.mark.parametrize("harm", [truncate, Path.unlink])
def test_a_truncated_or_missing_file_is_published_anew_by_the_next_dag_run(
    workspace: Workspace, harm: Callable[[Path], None]
) -> None:
    harm(file_of(workspace))
    assert len(differences(workspace)) == 1
    # a reader fails: it never gets fewer rows
    with pytest.raises((OSError, pa.ArrowException)):
        workspace.lake.dataset(TABLE, [DAY]).to_table()
    assert publish(workspace, "again") == (DAY,)
    assert differences(workspace) == []
    assert workspace.lake.dataset(TABLE).to_table().num_rows == 3 * len(KEYS)


def test_a_flipped_bit_is_set_aside_and_published_anew(workspace: Workspace) -> None:
    """The size is right, so only `make verify` finds it."""
    flip(file_of(workspace))
    assert publish(workspace, "again") == ()
    found = verify.verify(workspace)
    (path,) = verify.set_aside(workspace, found)
    assert Path(path + ".damaged").exists()
    with pytest.raises(OSError, match=r"(?i)no such file|not found"):
        workspace.lake.dataset(TABLE, [DAY]).to_table()
    assert publish(workspace, "mended") == (DAY,)
    assert differences(workspace) == []


def test_a_ledger_and_whole_partitions_are_never_set_aside(workspace: Workspace) -> None:
    from include.lake.appending import append

    ledger = "flights/ledger/promotions"
    append(workspace.lake, ledger, pa.table({"name": ["two"]}), DAY, Attempt("flights", "d", "r"), 0)
    (entry,) = Path(workspace.settings.lake_root, ledger, f"ds={DAY}").glob("*.parquet")
    flip(entry)
    found = verify.verify(workspace)
    assert len(found.differences) == 1
    assert verify.set_aside(workspace, found) == []


def test_the_same_stage_does_not_pass_a_damaged_file_on(workspace: Workspace) -> None:
    """A publish that is cleared finds its own damaged file: it must not add it again as whole."""
    by = Attempt("flights", "flights_ingest", "one")
    rows = pa.table({"id": pa.array([9], pa.int64()), "name": ["nine"], "ds": [DAY]})
    stage = workspace.lake.stage(TABLE, rows.to_reader(), [DAY], by, ("id",))
    workspace.lake.publish(stage, by)
    (file,) = (Path(path) for path in workspace.lake.paths(TABLE, [DAY]) or [])
    truncate(file)
    with pytest.raises(FileNotFoundError):
        workspace.lake.publish(stage, by)
    assert len(differences(workspace)) == 1


# ---- the log ------------------------------------------------------------------------------------------------------


def test_a_deleted_checkpoint_costs_nothing_but_a_hint(workspace: Workspace) -> None:
    """Every commit is kept, so the log is whole without its checkpoint."""
    before = Lake(workspace.settings.lake_root).records(TABLE)
    checkpoint = log_of(workspace, 9, "checkpoint.parquet")
    checkpoint.unlink()
    with pytest.raises(DeltaError, match="Checkpoint"):
        workspace.lake.dataset(TABLE)
    (found,) = differences(workspace)
    assert found.startswith(f"{TABLE} log: it cannot be read (Kernel error: Invalid Checkpoint")
    checkpoint.with_name("_last_checkpoint").unlink()
    assert Lake(workspace.settings.lake_root).records(TABLE) == before
    assert differences(workspace) == []
    assert publish(workspace, "again") == ()


def test_a_damaged_checkpoint_is_replaced_by_the_commits(workspace: Workspace) -> None:
    checkpoint = log_of(workspace, 9, "checkpoint.parquet")
    truncate(checkpoint)
    with pytest.raises(DeltaError):
        workspace.lake.dataset(TABLE)
    checkpoint.unlink()
    checkpoint.with_name("_last_checkpoint").unlink()
    assert differences(workspace) == []


def test_a_deleted_commit_in_the_middle_is_noticed_by_every_reader(workspace: Workspace) -> None:
    log_of(workspace, 11).unlink()
    with pytest.raises(DeltaError, match="gap"):
        workspace.lake.dataset(TABLE)
    assert len(differences(workspace)) == 1


def test_a_deleted_commit_before_the_checkpoint_costs_its_record_only(workspace: Workspace) -> None:
    log_of(workspace, 3).unlink()
    assert workspace.lake.dataset(TABLE).to_table().num_rows == 3 * len(KEYS)
    assert differences(workspace) == [
        f"{TABLE} log (version 12): 1 of its 13 commits cannot be read, nor the publish records that they held",
        f"{TABLE} {KEYS[2]} (version 12): no publish record names it",
    ]
    assert publish(workspace, "again") == (KEYS[2],)
    assert [one for one in differences(workspace) if " log " not in one] == []


def test_a_deleted_newest_commit_is_noticed_by_what_has_read_it(workspace: Workspace) -> None:
    """Delta finds a table that is one commit shorter, and nothing wrong with it."""
    publish(workspace, "copied", KEYS, COPY)
    log_of(workspace, 12).unlink()
    assert workspace.lake.published(TABLE, [KEYS[-1]]) == frozenset()
    (found,) = differences(workspace)
    assert found == f"{TABLE} log (version 11): its newest commits are lost: version 12 has been read"
    assert publish(workspace, "again") == (KEYS[-1],)
    assert differences(workspace) == []
