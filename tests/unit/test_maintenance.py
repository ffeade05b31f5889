"""Tests of maintenance: compaction joins small files, vacuum deletes only files that nothing can need."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa
from deltalake import DeltaTable

from include.lake.appending import append
from include.lake.lake import Lake
from include.steps import maintenance
from include.steps.handover import Stages
from include.steps.train import search, training_sets
from include.steps.workspace import Workspace
from include.training.study.shared_study import SharedStudy, join_study
from include.training.study.storage import open_store
from tests.unit import chain

TABLE = "autumn/raw/outcomes"
SCORES = "autumn/predictions/scores"
KEYS = ("2013-11-01", "2013-11-02", "2013-11-03")
HOUR = 3600


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(chain.settings_in(tmp_path), chain.autumn())


def put(workspace: Workspace, value: int, table: str = TABLE, name: str | None = None) -> int:
    """Publish three rows with ``value``, one a partition, and return the Delta version."""
    by = chain.attempt(name or f"{table} {value}")
    rows = pa.table({"value": pa.array([value] * len(KEYS), pa.int64()), "ds": list(KEYS)})
    stages = Stages(folders={table: workspace.lake.stage(table, rows.to_reader(), KEYS, by, ("value",)).path})
    chain.publish(workspace, stages, by)
    return workspace.lake.version(table) or 0


def seen(workspace: Workspace, table: str = TABLE, version: int | None = None) -> list[int]:
    return sorted(workspace.lake.dataset(table, version=version).to_table()["value"].to_pylist())


def split_files(workspace: Workspace, table: str) -> None:
    """Give the first partition a second file, as a writer of many small files would."""
    rows = pa.table({"value": pa.array([7], pa.int64()), "ds": [KEYS[0]]})
    append(workspace.lake, table, rows.drop_columns(["ds"]), KEYS[0], chain.attempt("more"), expected=0)


def files(workspace: Workspace, table: str = TABLE) -> int:
    return len(list(Path(workspace.lake.uri(table)).rglob("ds=*/*.parquet")))


def age(folder: Path, hours: float) -> None:
    then = time.time() - hours * HOUR
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (then, then))


# ---- compaction -------------------------------------------------------------------------------------


def test_compaction_keeps_contents_and_records(workspace: Workspace) -> None:
    put(workspace, 1)
    split_files(workspace, TABLE)
    records = workspace.lake.records(TABLE)
    assert maintenance.compact(workspace) == {TABLE: 1}
    assert seen(workspace) == [1, 1, 1, 7]
    assert workspace.lake.records(TABLE) == records
    assert workspace.lake.published(TABLE, KEYS) == set(KEYS)
    assert maintenance.compact(workspace) == {}


def test_a_publish_after_compaction_replaces_what_was_joined(workspace: Workspace) -> None:
    put(workspace, 1)
    split_files(workspace, TABLE)
    maintenance.compact(workspace)
    put(workspace, 2)
    assert seen(workspace) == [2, 2, 2]


def test_a_publish_that_read_before_a_compaction_still_replaces_all_rows(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(workspace, 1)
    split_files(workspace, TABLE)
    refuse_late = Lake._refuse_late
    compacted = []

    def compacting_meanwhile(lake: Lake, *args: object) -> None:
        refuse_late(lake, *args)
        if not compacted:
            compacted.append(maintenance.compact(workspace))

    monkeypatch.setattr(Lake, "_refuse_late", compacting_meanwhile)
    put(workspace, 2)
    assert compacted == [{TABLE: 1}]
    assert seen(workspace) == [2, 2, 2]


def test_a_compaction_that_a_publish_overtook_leaves_the_table_for_next_time(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(workspace, 1)
    split_files(workspace, TABLE)
    tables = maintenance._tables

    def then_published(workspace: Workspace) -> list[tuple[str, DeltaTable]]:
        opened = tables(workspace)
        put(workspace, 2)
        return opened

    monkeypatch.setattr(maintenance, "_tables", then_published)
    assert maintenance.compact(workspace) == {}
    assert seen(workspace) == [2, 2, 2]


# ---- vacuum -----------------------------------------------------------------------------------------


def test_a_dry_run_counts_what_the_run_then_deletes(workspace: Workspace) -> None:
    put(workspace, 1)
    put(workspace, 2)
    age(Path(workspace.settings.lake_root), 2)
    before = files(workspace), workspace.lake.version(TABLE)
    counted = maintenance.vacuum(workspace, 0, dry_run=True)
    assert (files(workspace), workspace.lake.version(TABLE)) == before
    assert counted[TABLE] == len(KEYS)
    assert maintenance.vacuum(workspace, 0, dry_run=False) == counted
    assert files(workspace) == len(KEYS)
    assert seen(workspace) == [2, 2, 2]
    assert maintenance.vacuum(workspace, 0, dry_run=False) == {}


def test_what_is_younger_than_the_retention_stays(workspace: Workspace) -> None:
    first = put(workspace, 1)
    put(workspace, 2)
    assert maintenance.vacuum(workspace, 1, dry_run=False) == {}
    assert seen(workspace, version=first) == [1, 1, 1]


@pytest.mark.parametrize(("hours", "left"), [(2, 0), (0, 1)], ids=["old", "young"])
@pytest.mark.parametrize("table", [TABLE, SCORES])
def test_only_old_orphans_go(workspace: Workspace, table: str, hours: float, left: int) -> None:
    """Delete old files that no commit names: a killed publish has moved them in."""
    put(workspace, 1, table)
    orphan = Path(workspace.lake.uri(table)) / f"ds={KEYS[0]}" / "orphan.parquet"
    orphan.write_bytes(b"half a file")
    age(orphan.parent, hours)
    maintenance.vacuum(workspace, 1, dry_run=False)
    assert files(workspace, table) == len(KEYS) + left
    assert seen(workspace, table) == [1, 1, 1]


@pytest.mark.parametrize("table", [SCORES, "autumn/ledger/promotions", "autumn/training/as_of_2013_11_05"])
def test_every_version_of_what_cannot_be_made_again_stays(workspace: Workspace, table: str) -> None:
    versions = [put(workspace, value, table) for value in (1, 2, 3)]
    age(Path(workspace.settings.lake_root), 100)
    maintenance.compact(workspace)
    maintenance.vacuum(workspace, 0, dry_run=False)
    assert [seen(workspace, table, version) for version in versions] == [[1] * 3, [2] * 3, [3] * 3]


def test_a_training_set_can_be_made_again_from_the_versions_that_it_names(tmp_path: Path) -> None:
    """Rebuild it after corrections of all its inputs, a compaction, and a vacuum without retention."""
    workspace = chain.copy(chain.trained(), tmp_path)
    (table,) = training_sets.tables_of_day(workspace, chain.AS_OF)
    record = workspace.lake.records(table)[chain.AS_OF]
    for source in record.inputs:
        rows = chain.rows_of(workspace, source, "2013-11-01")
        for number in (1, 2):
            by = chain.attempt(f"correction {number} of {source}")
            shorter = rows.slice(number)
            staged = workspace.lake.stage(source, shorter.to_reader(), ["2013-11-01"], by, ())
            workspace.lake.publish(staged, by)
    age(Path(workspace.settings.lake_root), 100)
    maintenance.compact(workspace)
    gone = maintenance.vacuum(workspace, 0, dry_run=False)
    assert {table: count for table, count in gone.items() if table in record.inputs} == dict.fromkeys(record.inputs, 1)
    for source, read in record.inputs.items():
        assert workspace.lake.dataset(source, version=read.version).count_rows() > 0
    assert training_sets.rebuild(workspace, table, record.version) == record.fingerprint


def test_old_stages_and_claims_go_and_young_ones_stay(workspace: Workspace) -> None:
    put(workspace, 1, name="old")
    age(Path(workspace.settings.lake_root), 30)
    put(workspace, 2, name="young")
    roots = [Path(workspace.settings.lake_root) / kind / TABLE for kind in ("_stages", "_attempts")]
    assert [len(list(root.iterdir())) for root in roots] == [2, 2]
    assert maintenance.vacuum(workspace, 24, dry_run=True)["stages"] == 2
    assert [len(list(root.iterdir())) for root in roots] == [2, 2]
    assert maintenance.vacuum(workspace, 24, dry_run=False)["stages"] == 2
    assert [len(list(root.iterdir())) for root in roots] == [1, 1]
    assert seen(workspace) == [2, 2, 2]


# ---- remains of searches ----------------------------------------------------------------------------


def sweep(workspace: Workspace, study: str) -> SharedStudy:
    """Open a study with one checkpoint, as a worker does."""
    slot = search.places(workspace).checkpoints / study / "slot-0000" / "trial-0000" / "step-01"
    slot.mkdir(parents=True)
    (slot / "state.json").write_text("{}")
    settings = workspace.case.training
    store = open_store(workspace.settings.optuna_storage, settings.heartbeat_seconds, settings.grace_seconds)
    return join_study(store, study, "fingerprint", settings, budget=3)


def left(workspace: Workspace) -> list[str]:
    return sorted(path.name for path in search.places(workspace).checkpoints.iterdir())


def test_checkpoints_of_old_studies_go_and_young_ones_stay(workspace: Workspace) -> None:
    sweep(workspace, "autumn-old")
    (search.places(workspace).checkpoints / "autumn-nobody-knows-it").mkdir()
    age(search.places(workspace).checkpoints, 30)
    sweep(workspace, "autumn-young")
    assert maintenance.vacuum(workspace, 24, dry_run=True) == {"sweeps": 2}
    assert left(workspace) == ["autumn-nobody-knows-it", "autumn-old", "autumn-young"]
    assert maintenance.vacuum(workspace, 24, dry_run=False) == {"sweeps": 2}
    assert left(workspace) == ["autumn-young"]
    assert maintenance.vacuum(workspace, 24, dry_run=False) == {}


def test_checkpoints_stay_while_somebody_is_at_work_however_old_they_are(workspace: Workspace) -> None:
    working, killed = sweep(workspace, "autumn-working"), sweep(workspace, "autumn-killed")
    trial = working.claim()
    assert trial is not None
    assert killed.claim() is not None
    age(search.places(workspace).checkpoints, 30)
    with killed.store.storage.engine.begin() as database:
        # its worker was killed, so the trial never ended
        of_killed = "select trial_id from trials where study_id = :study"
        database.execute(
            sa.text(f"update trial_heartbeats set heartbeat = '2013-01-01' where trial_id in ({of_killed})"),
            {"study": killed._study_id},
        )
    assert maintenance.vacuum(workspace, 24, dry_run=False) == {"sweeps": 1}
    assert left(workspace) == ["autumn-working"]
    working.release(trial)
    assert maintenance.vacuum(workspace, 24, dry_run=False) == {"sweeps": 1}
    assert left(workspace) == []


def test_small_files_that_no_search_asked_for_lately_go(workspace: Workspace) -> None:
    known = search.places(workspace).known
    old, asked = (known.file(name, lambda path: path.write_text("{}")) for name in ("old.json", "asked.json"))
    age(old.parent, 30)
    assert known.file("asked.json", lambda path: path.write_text("made anew")) == asked
    assert maintenance.vacuum(workspace, 24, dry_run=False)["sweeps"] == 3
    # their lock files are deleted too
    assert list(old.parent.iterdir()) == [asked]
    assert asked.read_text() == "{}"
