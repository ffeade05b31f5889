"""Types and values on their way into the lake: kept, or refused by table, column, value and remedy."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from include.core.engine import engine
from include.core.errors import RowsRefused
from include.core.partitions import Span
from include.feature_store.history import History
from include.feature_store.point_in_time import values_as_of
from include.lake import compaction, file_statistics
from include.lake.lake import Lake
from include.lake.records import Attempt
from include.steps import ingest, publishing
from include.steps.workspace import Workspace
from tests.unit.small_source import DAY, small_workspace

BY = Attempt("flights", "flights_ingest", "r1")
LAST_INSTANT = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


def published(folder: Path, value: str, attempt: Attempt = BY) -> Workspace:
    """Publish one row whose column ``v`` is the SQL expression ``value``."""
    workspace = small_workspace(folder, f"SELECT '{DAY}' AS ds, 1 AS id, {value} AS v")
    stages = ingest.land(workspace, Span.one(DAY), attempt)
    publishing.audit(workspace, stages, attempt)
    publishing.publish(workspace, stages, attempt)
    return workspace


def values(workspace: Workspace) -> list[Any]:
    return workspace.lake.dataset("flights/raw/tiny", [DAY]).to_table()["v"].to_pylist()


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("TIMESTAMPTZ '9999-12-31 23:59:59.999999+00'", LAST_INSTANT),
        ("TIMESTAMPTZ '0044-03-15 12:00:00.000001+00'", datetime(44, 3, 15, 12, 0, 0, 1, tzinfo=UTC)),
        ("DATE '9999-12-31'", date(9999, 12, 31)),
        ("'low'::ENUM('low', 'high')", "low"),
    ],
)
def test_edge_values_are_kept(tmp_path: Path, value: str, kept: object) -> None:
    """C33, C40: the last instant, an early year and an ENUM can be published, twice, and read."""
    assert values(published(tmp_path, value)) == [kept]
    assert values(published(tmp_path, value, Attempt("flights", "flights_ingest", "r2"))) == [kept]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("TIMESTAMPTZ 'infinity'", "column v has the value infinity"),
        ("TIMESTAMPTZ '-infinity'", "column v has the value -infinity"),
        ("TIMESTAMPTZ '0044-03-15 (BC) 12:00:00+00'", "column v has the value 0044-03-15T12:00:00.000000 BC"),
        ("TIMESTAMPTZ '12000-01-01 00:00:00+00'", "column v has the value 12000-01-01"),
        ("DATE 'infinity'", "column v has the value infinity"),
        ("DATE '12000-01-01'", "column v has the value 12000-01-01"),
        ("TIMESTAMP '2013-11-02 05:00:00'", r"column v is timestamp\[us\]: name its zone"),
        ("TIME '10:00:00'", r"column v is time64\[us\]: cast it to VARCHAR"),
        ("INTERVAL 1 DAY", "column v is month_day_nano_interval: store its length in seconds"),
        ("'x'::BLOB", "column v is binary: encode it as text"),
        ("1::HUGEINT", r"column v is decimal128\(38, 0\): cast it to BIGINT or DOUBLE"),
        ("1::UTINYINT", "column v is uint8: cast it to a signed integer"),
        ("[1]", "column v is list.*: give each part a column of its own"),
        ("NULL", "column v is null: give NULL a type"),
    ],
)
def test_other_values_are_refused_at_the_source(tmp_path: Path, value: str, message: str) -> None:
    """C33: the error names table, column, value or type, and the remedy."""
    with pytest.raises(RowsRefused, match=f"flights/raw/tiny: {message}"):
        published(tmp_path, value)


def test_early_years_are_written_with_four_digits() -> None:
    """C40: statistics of years below 1000 are dates of Delta's protocol."""
    instants = pa.array([datetime(44, 3, 15, 12, tzinfo=UTC), LAST_INSTANT], pa.timestamp("us", "UTC"))
    early, last = file_statistics.of_parts(pa.table({"at": instants}), [1, 1])
    assert (early["minValues"], early["maxValues"]) == (
        {"at": "0044-03-15T12:00:00.000Z"},
        {"at": "0044-03-15T12:00:00.000Z"},
    )
    assert (last["minValues"], last["maxValues"]) == ({"at": "9999-12-31T23:59:59.999Z"}, {})


def test_an_event_column_without_a_zone_is_read_as_utc(tmp_path: Path) -> None:
    """C33: a Delta table of somebody else may have time stamps without zone."""
    from deltalake import write_deltalake

    at = datetime(2013, 11, 2, 5)
    write_deltalake(str(tmp_path), pa.table({"id": [1], "v": [7], "at": pa.array([at], pa.timestamp("us"))}))
    history = History("view", str(tmp_path), (("id", "id"),), (("v", "v"),), "at", lifetime=timedelta(days=2))
    asked = pa.table({"id": [1, 1], "instant": pa.array([at, at - timedelta(seconds=1)], pa.timestamp("us", "UTC"))})
    with engine(1, "1GB") as connection:
        assert values_as_of(connection, asked, "instant", history).to_pylist() == [{"v": 7}, {"v": None}]


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Let every write fail that would make a file larger than 20 kB, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def many(key: str) -> pa.RecordBatchReader:
    return pa.table({"v": pa.array(range(50_000), pa.int64()), "ds": [key] * 50_000}).to_reader()


def test_a_failed_stage_leaves_nothing(tmp_path: Path, small_disk: None) -> None:
    """C23: a stage that met a full disk does not keep it full."""
    with pytest.raises(OSError, match="File too large"):
        Lake(str(tmp_path)).stage("flights/raw/tiny", many(DAY), [DAY], BY, order=("v",))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_refused_stage_leaves_nothing(tmp_path: Path) -> None:
    """C23: nor does a stage whose last row is refused."""
    with pytest.raises(RowsRefused):
        Lake(str(tmp_path)).stage("flights/raw/tiny", many("2013-11-09"), [DAY], BY, order=("v",))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_failed_compaction_leaves_nothing(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """C23: compaction that meets a full disk deletes what it has written."""
    from include.lake.appending import append

    lake = Lake(str(tmp_path))
    for entry in range(2):
        rows = many(DAY).read_all().drop_columns(["ds"])
        append(lake, "flights/ledger/promotions", rows, DAY, Attempt("flights", "d", f"r{entry}"), entry)
    delta = lake.open("flights/ledger/promotions")
    before = sorted(tmp_path.rglob("*.parquet"))
    request.getfixturevalue("small_disk")
    with pytest.raises(OSError, match="File too large"):
        compaction.compact(lake, "flights/ledger/promotions", delta)
    assert sorted(tmp_path.rglob("*.parquet")) == before
