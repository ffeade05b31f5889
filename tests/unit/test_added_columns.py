"""A column may be added to a published table: old partitions read null, and their fingerprints stay."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.core import fault_points, sql
from include.core.errors import AuditFailed, SchemaMismatch
from include.core.partitions import Span
from include.lake import compaction, delta_log
from include.lake.lake import Lake
from include.lake.records import Attempt, Publication
from include.steps import ingest, publishing, verify
from include.steps.workspace import Workspace
from tests.unit.small_source import QuerySource, small_workspace

TABLE = "flights/raw/tiny"
DAY, NEXT, THIRD = "2013-11-02", "2013-11-03", "2013-11-04"


def old(*keys: str) -> pa.Table:
    return pa.table({"id": pa.array(range(len(keys)), pa.int64()), "ds": pa.array(keys, pa.string())})


def new(*keys: str, kind: pa.DataType | None = None) -> pa.Table:
    """Return rows whose new column stands before the others, as a query may give it."""
    return pa.table(
        {
            "worth": pa.array([7] * len(keys), kind or pa.float64()),
            "id": pa.array(range(len(keys)), pa.int64()),
            "ds": pa.array(keys, pa.string()),
        }
    )


def attempt(name: str = "r1") -> Attempt:
    return Attempt("flights", "flights_ingest", name)


def put(lake: Lake, rows: pa.Table, name: str) -> Publication:
    keys = sorted(set(rows["ds"].to_pylist()))
    return lake.publish(lake.stage(TABLE, rows.to_reader(), keys, attempt(name), ("id",)), attempt(name))


def read(lake: Lake, version: int | None = None) -> list[dict[str, object]]:
    return sorted(lake.dataset(TABLE, None, version).to_table().to_pylist(), key=lambda row: str(row["ds"]))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return small_workspace(tmp_path, "SELECT 1")


@pytest.fixture
def lake(workspace: Workspace) -> Lake:
    """Two partitions, of which the second has a column more."""
    put(workspace.lake, old(DAY), "r1")
    put(workspace.lake, new(NEXT), "r2")
    return workspace.lake


def test_old_partitions_read_null_and_keep_their_fingerprints(lake: Lake, workspace: Workspace) -> None:
    assert read(lake) == [{"id": 0, "worth": None, "ds": DAY}, {"id": 0, "worth": 7.0, "ds": NEXT}]
    before = lake.records(TABLE, [DAY], 1)[DAY]
    assert lake.fingerprints(TABLE, [DAY]) == {DAY: before.fingerprint}
    assert {key: record.added for key, record in lake.records(TABLE).items()} == {DAY: (), NEXT: ("worth",)}
    assert verify.verify(workspace).differences == ()
    # published again as they were, they are still the same
    assert put(lake, old(DAY), "r3").unchanged == (DAY,)


def test_an_earlier_version_has_the_earlier_columns(lake: Lake) -> None:
    assert read(lake, 1) == [{"id": 0, "ds": DAY}]
    assert lake.file_columns(TABLE, 1) is None


def test_column_and_rows_come_in_one_commit(lake: Lake) -> None:
    """A partition that is published again with the column loses its old file in the same commit."""
    done = put(lake, new(DAY, THIRD), "r3")
    assert (done.version, done.published) == (3, (DAY, THIRD))
    assert sorted(file.key for file in delta_log.files(lake.open(TABLE))) == [DAY, NEXT, THIRD]
    assert [row["worth"] for row in read(lake)] == [7.0, 7.0, 7.0]


def test_the_first_commit_with_the_column_replaces_partitions(workspace: Workspace) -> None:
    put(workspace.lake, old(DAY, NEXT), "r1")
    put(workspace.lake, new(DAY), "r2")
    assert [row["worth"] for row in read(workspace.lake)] == [7.0, None]
    assert len(delta_log.files(workspace.lake.open(TABLE))) == 2
    assert verify.verify(workspace).differences == ()


def test_an_empty_partition_may_bring_the_column(workspace: Workspace) -> None:
    put(workspace.lake, old(DAY), "r1")
    stage = workspace.lake.stage(TABLE, new().to_reader(), [NEXT], attempt("r2"), ())
    assert workspace.lake.publish(stage, attempt("r2")).published == (NEXT,)
    assert read(workspace.lake) == [{"id": 0, "worth": None, "ds": DAY}]
    assert workspace.lake.published(TABLE, [DAY, NEXT]) == {DAY, NEXT}


@pytest.mark.parametrize("keys", [[DAY], [NEXT], [DAY, NEXT]])
def test_duckdb_reads_old_and_new_files(lake: Lake, workspace: Workspace, keys: list[str]) -> None:
    with workspace.connect() as con:
        workspace.attach(con, "tiny", TABLE, keys)
        found = con.execute("SELECT * FROM tiny ORDER BY ds").fetchall()
        columns = [name for name, *_ in con.description]
    assert columns == ["id", "worth", "ds"]
    assert found == [(0, None if key == DAY else 7.0, key) for key in keys]


@pytest.mark.parametrize("kind", ["TINYINT", "SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "BOOLEAN", "VARCHAR",
                                  "DATE", "TIMESTAMP WITH TIME ZONE"])  # fmt: skip
def test_a_missing_column_has_its_type(workspace: Workspace, kind: str) -> None:
    put(workspace.lake, old(DAY), "r1")
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        rows = con.sql(f"SELECT CAST(NULL AS {kind}) AS worth, 1::BIGINT AS id, '{NEXT}' AS ds").to_arrow_table()
    put(workspace.lake, rows, "r2")
    types = workspace.lake.file_columns(TABLE)
    assert types == {"id": "BIGINT", "worth": kind}
    paths = workspace.lake.paths(TABLE, [DAY])
    with duckdb.connect() as con:
        described = con.execute(f"DESCRIBE FROM {sql.partitioned_parquet(paths or [], types)}").fetchall()
    assert [(name, found) for name, found, *_ in described][1] == ("worth", kind)


def test_joined_files_keep_the_columns_that_they_had(lake: Lake, workspace: Workspace) -> None:
    _split(workspace, DAY)
    _split(workspace, NEXT)
    assert len(delta_log.files(lake.open(TABLE))) == 4
    assert compaction.compact(lake, TABLE, lake.open(TABLE)) == 2
    assert [row["worth"] for row in read(lake)] == [None, None, 7.0, 7.0]
    # the fingerprint of the old partition does not cover the column
    assert verify.verify(workspace).differences == ()


def _split(workspace: Workspace, key: str) -> None:
    """Publish two rows of a partition, in two files, as an appending writer would."""
    lake = workspace.lake
    make = old if key == DAY else new
    put(lake, make(key, key), f"two {key}")
    rows = lake.stage(TABLE, make(key, key).to_reader(), [key], attempt("split"), ("id",)).rows_of(key)
    delta = lake.open(TABLE)
    folder = Path(lake.root) / TABLE
    added = []
    for n in (0, 1):
        part = rows.slice(n, 1).drop_columns(["ds"])
        path = folder / f"ds={key}" / f"part-{n}.parquet"
        pq.write_table(part, path)
        added.append(delta_log.added(key, f"ds={key}/{path.name}", path.stat().st_size, {"numRecords": 1}))
    delta.create_write_transaction(
        [*added, *delta_log.removals(delta, [key])], mode="append", schema=delta.schema(), partition_by=["ds"]
    )


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (new(DAY).drop_columns(["id"]), "id is missing; worth is new"),
        (old(DAY).set_column(0, "id", pa.array([1.0])), "id is double, not int64"),
    ],
)
def test_no_column_goes_or_changes_its_type(workspace: Workspace, rows: pa.Table, said: str) -> None:
    put(workspace.lake, old(DAY), "r1")
    stage = workspace.lake.stage(TABLE, rows.to_reader(), [DAY], attempt("r2"), ())
    with pytest.raises(SchemaMismatch, match=rf"{said}.*publish under a new name, for example flights/raw/tiny_v2"):
        workspace.lake.publish(stage, attempt("r2"))
    with pytest.raises(SchemaMismatch, match=said):
        workspace.lake.refuse_stale(stage)
    assert read(workspace.lake) == [{"id": 0, "ds": DAY}]


def test_an_added_column_keeps_its_type(lake: Lake) -> None:
    with pytest.raises(SchemaMismatch, match="worth is int64, not double"):
        put(lake, new(THIRD, kind=pa.int64()), "r3")


def test_a_stage_from_before_the_column_was_added_is_refused(workspace: Workspace) -> None:
    """The late attempt of older code would publish rows without what the newer code has published since."""
    lake = workspace.lake
    put(lake, old(DAY), "r1")
    late = lake.stage(TABLE, old(THIRD).to_reader(), [THIRD], attempt("late"), ())
    put(lake, new(NEXT), "r2")
    for refused in (lambda: lake.publish(late, attempt("late")), lambda: lake.refuse_stale(late)):
        with pytest.raises(SchemaMismatch, match=r"the stage lacks worth, which another version .* Nothing was publ"):
            refused()
    assert lake.published(TABLE, [THIRD]) == frozenset()


def test_a_late_attempt_whose_work_is_done_is_no_fault(workspace: Workspace) -> None:
    lake = workspace.lake
    done = lake.stage(TABLE, old(DAY).to_reader(), [DAY], attempt("r1"), ())
    lake.publish(done, attempt("r1"))
    put(lake, new(NEXT), "r2")
    assert lake.publish(done, attempt("r1")).unchanged == (DAY,)


def test_the_way_back_leaves_the_column_out(lake: Lake, workspace: Workspace) -> None:
    """A query that is set back gives the old rows, and these have the old fingerprint."""
    put(lake, old(NEXT), "first")
    first = lake.fingerprints(TABLE, [NEXT], 3)
    put(lake, new(NEXT), "with the column")
    put(lake, old(NEXT), "back")
    assert lake.fingerprints(TABLE, [NEXT]) == first
    assert [row["worth"] for row in read(lake)] == [None, None]
    assert lake.records(TABLE, [NEXT])[NEXT].added == ()
    assert verify.verify(workspace).differences == ()


@pytest.mark.parametrize("others", ["allowed", "refused"])
def test_a_column_that_the_source_begins_to_deliver(tmp_path: Path, others: str) -> None:
    """The suite decides: what it allows is published, what it refuses is not."""
    there = small_workspace(tmp_path, f"SELECT '{DAY}' AS ds, 1 AS id")
    suite = there.case.assets_folder / "suites" / "tiny.yaml"
    suite.write_text(f"{suite.read_text(encoding='utf-8')}other_columns: {others}\n", encoding="utf-8")
    _ingest(there, DAY)
    there.__dict__["source"] = QuerySource(f"SELECT '{NEXT}' AS ds, 2 AS id, 'new' AS word")
    if others == "refused":
        with pytest.raises(AuditFailed, match=r"word \(VARCHAR\) is not in the suite, which refuses other columns"):
            _ingest(there, NEXT)
        assert read(there.lake) == [{"id": 1, "ds": DAY}]
    else:
        _ingest(there, NEXT)
        assert [row["word"] for row in read(there.lake)] == [None, "new"]


def _ingest(there: Workspace, key: str) -> None:
    by = attempt(key)
    stages = ingest.land(there, Span.one(key), by)
    publishing.audit(there, stages, by)
    publishing.publish(there, stages, by)


class Killed(BaseException):
    """As a kill: nothing in a publish catches it."""


@pytest.mark.fault
@pytest.mark.parametrize(("point", "published"), [("publish.before_commit", False), ("publish.after_commit", True)])
def test_a_kill_leaves_nothing_half(
    workspace: Workspace, point: str, published: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(workspace.lake, old(DAY), "r1")

    def killed(name: str, detail: str = "") -> None:
        if name == point:
            raise Killed

    monkeypatch.setattr(fault_points, "reached", killed)
    with pytest.raises(Killed):
        put(workspace.lake, new(DAY, NEXT), "r2")
    monkeypatch.undo()
    assert ("worth" in [field.name for field in workspace.lake.open(TABLE).schema().fields]) is published
    assert [row.get("worth") for row in read(workspace.lake)] == ([7.0, 7.0] if published else [None])
    # the retry finishes it, once
    assert put(workspace.lake, new(DAY, NEXT), "r2").published == (() if published else (DAY, NEXT))
    assert [row["worth"] for row in read(workspace.lake)] == [7.0, 7.0]
    assert verify.verify(workspace).unnamed == ()


@pytest.mark.parametrize(
    ("other", "found"), [(new(NEXT), [None, 7.0, 7.0]), (old(NEXT), [None, None, 7.0])], ids=["with it", "without it"]
)
def test_another_publish_at_the_same_moment(
    workspace: Workspace, other: pa.Table, found: list[float | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are published, be it that both add the column; the second tries again over the columns of the first."""
    put(workspace.lake, old(DAY), "r1")
    waiting = ["r3"]

    def meanwhile(name: str, detail: str = "") -> None:
        if name == "publish.before_commit" and waiting:
            put(workspace.lake, other, waiting.pop())

    monkeypatch.setattr(fault_points, "reached", meanwhile)
    assert put(workspace.lake, new(THIRD), "r2").published == (THIRD,)
    assert [row["worth"] for row in read(workspace.lake)] == found
    assert verify.verify(workspace).differences == ()


def test_a_publish_without_the_column_that_meets_its_addition_is_refused(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(workspace.lake, old(DAY), "r1")
    waiting = ["r3"]

    def meanwhile(name: str, detail: str = "") -> None:
        if name == "publish.before_commit" and waiting:
            put(workspace.lake, new(NEXT), waiting.pop())

    monkeypatch.setattr(fault_points, "reached", meanwhile)
    with pytest.raises(SchemaMismatch, match="the stage lacks worth"):
        put(workspace.lake, old(THIRD), "r2")
