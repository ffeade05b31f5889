"""The as-of join agrees with a brute-force reading of its definition on any history."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.core.engine import engine
from include.core.errors import LifecycleError, SourceError
from include.feature_store.history import History
from include.feature_store.point_in_time import all_values, latest_values, values_as_of

INSTANT = pa.timestamp("us", "UTC")
START = datetime(2013, 11, 3, 4, tzinfo=UTC)

Row = tuple[str | None, int | None, int, int | None]  # carrier, flight, event second, created second
Rows = list[Row]
Wanted = list[tuple[str | None, int | None, int]]


def at(second: int | None) -> datetime | None:
    return None if second is None else START + timedelta(seconds=second)


def delta(folder: Path, rows: Rows, name: str = "history") -> str:
    """Write a Delta table of ``rows``; the value of a row is its position in the list."""
    table = pa.table(
        {
            "ds": pa.array([f"2013-11-{3 + row[2] // 5:02}" for row in rows], pa.string()),
            "carrier": pa.array([row[0] for row in rows], pa.string()),
            "flight": pa.array([row[1] for row in rows], pa.int64()),
            "event_timestamp": pa.array([at(row[2]) for row in rows], INSTANT),
            "created_timestamp": pa.array([at(row[3]) for row in rows], INSTANT),
            "value": pa.array(range(len(rows)), pa.int64()),
        }
    )
    uri = str(folder / name)
    write_deltalake(uri, table, partition_by=["ds"], mode="overwrite")
    return uri


def history(uri: str, lifetime: int | None = None, keys: int = 2) -> History:
    return History(
        name="delays",
        uri=uri,
        keys=(("carrier", "carrier"), ("flight", "flight"))[:keys],
        values=(("value", "found"),),
        event="event_timestamp",
        created="created_timestamp",
        lifetime=None if lifetime is None else timedelta(seconds=lifetime),
    )


def entity_rows(wanted: Wanted) -> pa.Table:
    return pa.table(
        {
            "carrier": pa.array([row[0] for row in wanted], pa.string()),
            "flight": pa.array([row[1] for row in wanted], pa.int64()),
            "now": pa.array([at(row[2]) for row in wanted], INSTANT),
        }
    )


def brute_force(rows: Rows, wanted: Wanted, lifetime: int | None, keys: int = 2) -> list[int | None]:
    """Apply the definition literally: filter all rows for each entity row, then take the best."""
    answers: list[int | None] = []
    for *key, now in wanted:
        usable = [
            (event, created, position)
            for position, (*row_key, event, created) in enumerate(rows)
            if all(ours is not None and ours == theirs for ours, theirs in zip(key[:keys], row_key, strict=False))
            and event <= now
            and created is not None
            and created <= now
            and (lifetime is None or event >= now - lifetime)
        ]
        answers.append(max(usable)[2] if usable else None)
    return answers


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with engine(threads=1, memory_limit="200MB", temp_directory=str(tmp_path), ordered=False) as opened:
        yield opened


# few keys and long delays, so that rows often compete for one entity row
carriers = st.sampled_from(["AA", "AA", "UA", None])
flights = st.sampled_from([1, 1, 1, 2, None])
seconds = st.integers(0, 9)


def rows_with(lag: st.SearchStrategy[int | None]) -> st.SearchStrategy[Rows]:
    row = st.tuples(carriers, flights, seconds, lag).map(
        lambda r: (r[0], r[1], r[2], None if r[3] is None else r[2] + r[3])
    )
    # rows equal in key, event and creation have no order: the lake's audits refuse them
    return st.integers(1, 20).flatmap(lambda size: st.lists(row, min_size=size, max_size=size, unique=True))


histories = st.one_of(
    rows_with(st.just(0)),
    rows_with(st.integers(-3, 0)),
    rows_with(st.integers(-3, 9)),
    rows_with(st.one_of(st.none(), st.integers(1, 9))),
)
wishes = st.lists(st.tuples(carriers, flights, st.integers(0, 18)), max_size=20)


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(rows=histories, wanted=wishes, lifetime=st.sampled_from([None, 1, 4]), keys=st.sampled_from([0, 1, 2]))
def test_agrees_with_brute_force(
    tmp_path: Path,
    connection: duckdb.DuckDBPyConnection,
    rows: Rows,
    wanted: Wanted,
    lifetime: int | None,
    keys: int,
) -> None:
    # with fewer keys, several rows may share key, event and creation: keep one of them
    rows = list({(*row[:keys], row[2], row[3]): row for row in rows}.values())
    uri = delta(tmp_path, rows)
    answer = values_as_of(connection, entity_rows(wanted), "now", history(uri, lifetime, keys))
    assert answer.column("found").to_pylist() == brute_force(rows, wanted, lifetime, keys)


def test_earlier_usable_row_is_found_behind_a_later_one_created_too_late(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection
) -> None:
    uri = delta(tmp_path, [("AA", 1, 0, 0), ("AA", 1, 5, 9)])
    answer = values_as_of(connection, entity_rows([("AA", 1, 8), ("AA", 1, 9)]), "now", history(uri))
    assert answer.column("found").to_pylist() == [0, 1]


def test_a_late_row_does_not_hide_a_newer_one_that_was_known_before_it(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection
) -> None:
    uri = delta(tmp_path, [("AA", 1, 5, 9), ("AA", 1, 3, 10), ("UA", 1, 5, 5), ("UA", 1, 3, 10)])
    answer = values_as_of(connection, entity_rows([("AA", 1, 11), ("UA", 1, 11)]), "now", history(uri))
    assert answer.column("found").to_pylist() == [0, 2]


def test_latest_creation_wins_among_equal_events_but_not_before_it_happened(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection
) -> None:
    uri = delta(tmp_path, [("AA", 1, 5, 3), ("AA", 1, 5, 4), ("AA", 1, 5, 7)])
    answer = values_as_of(connection, entity_rows([("AA", 1, 6), ("AA", 1, 7)]), "now", history(uri))
    assert answer.column("found").to_pylist() == [1, 2]


def test_lifetime_ends_after_its_last_microsecond(tmp_path: Path, connection: duckdb.DuckDBPyConnection) -> None:
    uri = delta(tmp_path, [("AA", 1, 0, 0)])
    rows = pa.table(
        {
            "carrier": ["AA", "AA"],
            "flight": [1, 1],
            "now": pa.array([START + timedelta(seconds=4), START + timedelta(seconds=4, microseconds=1)], INSTANT),
        }
    )
    answer = values_as_of(connection, rows, "now", history(uri, lifetime=4))
    assert answer.column("found").to_pylist() == [0, None]


def test_microseconds_that_file_statistics_cut_off_are_not_pruned(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection
) -> None:
    event = START + timedelta(microseconds=900)
    table = pa.table(
        {
            "carrier": ["AA"],
            "flight": [1],
            "event_timestamp": pa.array([event], INSTANT),
            "created_timestamp": pa.array([event], INSTANT),
            "value": [7],
        }
    )
    uri = str(tmp_path / "fine")
    write_deltalake(uri, table)
    rows = pa.table({"carrier": ["AA"], "flight": [1], "now": pa.array([event + timedelta(seconds=1)], INSTANT)})
    answer = values_as_of(connection, rows, "now", history(uri, lifetime=1))
    assert answer.column("found").to_pylist() == [7]


def test_only_files_within_the_instants_and_the_lifetime_are_opened(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection
) -> None:
    uri = delta(tmp_path, [("AA", 1, second, second) for second in range(0, 50, 5)])
    for file in Path(uri).glob("ds=*/*.parquet"):
        if file.parent.name not in ("ds=2013-11-06", "ds=2013-11-07"):
            file.write_bytes(b"unreadable")
    answer = values_as_of(connection, entity_rows([("AA", 1, 20)]), "now", history(uri, lifetime=5))
    assert answer.column("found").to_pylist() == [4]


def test_a_recorded_version_is_read_again(tmp_path: Path, connection: duckdb.DuckDBPyConnection) -> None:
    uri = delta(tmp_path, [("AA", 1, 0, 0)])
    delta(tmp_path, [("AA", 2, 0, 0), ("AA", 1, 1, 1)])
    pinned = History(**{**history(uri).__dict__, "table": DeltaTable(uri, version=0)})
    wanted = entity_rows([("AA", 1, 5)])
    assert values_as_of(connection, wanted, "now", pinned).column("found").to_pylist() == [0]
    assert values_as_of(connection, wanted, "now", history(uri)).column("found").to_pylist() == [1]


def test_latest_row_of_each_key_within_a_range(tmp_path: Path, connection: duckdb.DuckDBPyConnection) -> None:
    uri = delta(
        tmp_path,
        [
            ("AA", 1, 0, 0),
            ("AA", 1, 3, 3),
            ("AA", 1, 3, 4),
            ("AA", 1, 9, 9),
            ("UA", 1, 1, 1),
            (None, 1, 2, 2),
        ],
    )
    latest = latest_values(
        connection, history(uri), START + timedelta(seconds=1), START + timedelta(seconds=8)
    ).sort_by("carrier")
    assert latest.column_names == ["carrier", "flight", "found", "event_timestamp", "created_timestamp"]
    assert latest.column("found").to_pylist() == [2, 4]
    assert latest.schema.field("event_timestamp").type == INSTANT


def test_every_row_within_a_range(tmp_path: Path, connection: duckdb.DuckDBPyConnection) -> None:
    uri = delta(tmp_path, [("AA", 1, 0, 0), ("AA", 1, 3, 3), ("AA", 1, 9, 9)])
    rows = all_values(connection, history(uri), at(3), None).sort_by("found")
    assert rows.column("found").to_pylist() == [1, 2]


def test_spills_to_disk_rather_than_exceed_its_memory(tmp_path: Path) -> None:
    count = 400_000
    table = pa.table(
        {
            "carrier": pa.array([f"carrier {n % 1000}" for n in range(count)]),
            "flight": pa.array([n % 7 for n in range(count)]),
            "event_timestamp": pa.array([START + timedelta(seconds=n) for n in range(count)], INSTANT),
            "created_timestamp": pa.array([START + timedelta(seconds=n) for n in range(count)], INSTANT),
            "value": pa.array([f"a value that takes some memory {n}" for n in range(count)]),
        }
    )
    uri = str(tmp_path / "large")
    write_deltalake(uri, table)
    rows = table.select(["carrier", "flight", "event_timestamp"])
    with engine(threads=1, memory_limit="60MB", temp_directory=str(tmp_path), ordered=False) as connection:
        answer = values_as_of(connection, rows, "event_timestamp", history(uri))
    assert answer.column("found").equals(table.column("value"))
    assert not list(tmp_path.glob("duckdb-*"))


def test_unknown_table_column_and_key_type_are_named(tmp_path: Path, connection: duckdb.DuckDBPyConnection) -> None:
    wanted = entity_rows([("AA", 1, 0)])
    with pytest.raises(SourceError, match=r"no Delta table at .*nowhere; publish"):
        values_as_of(connection, wanted, "now", history(str(tmp_path / "nowhere")))
    uri = delta(tmp_path, [("AA", 1, 0, 0)])
    misspelt = History(**{**history(uri).__dict__, "values": (("valeu", "found"),)})
    with pytest.raises(SourceError, match=r"'valeu'; did you mean \"value\""):
        values_as_of(connection, wanted, "now", misspelt)
    number = wanted.set_column(0, "carrier", pa.array([9]))
    with pytest.raises(LifecycleError, match=r"'carrier' is int64 .* cast the entity rows to string"):
        values_as_of(connection, number, "now", history(uri))
