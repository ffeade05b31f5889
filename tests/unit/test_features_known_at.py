"""Features of a day use only rows known before its clock, and do not depend on the span asked for."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.core import partitions
from include.core.partitions import Span
from include.feature_store import feature_sql
from include.spec.loading import load_use_case
from tests.unit.flights_case import FLIGHTS, TIME_ZONE, connection, land, source

HISTORY = "2013-01-01"
# the first days have a clipped window; 2013-03-10 has 23 hours
FIRST, LAST = "2013-01-01", "2013-03-12"
days = st.sampled_from(partitions.key_range(FIRST, LAST)) | st.sampled_from(["2013-02-09", "2013-03-11", FIRST])


def compute(con: duckdb.DuckDBPyConnection, first: str, last: str) -> dict[str, str]:
    return feature_sql.compute(con, FLIGHTS, Span(first=first, last=last))


@pytest.fixture(scope="module")
def weeks() -> Iterator[duckdb.DuckDBPyConnection]:
    """Load raw tables into schema ``raw`` and the features of the whole span into schema ``whole``."""
    with connection(threads=2) as con:
        land(con, source(), FIRST, partitions.shift(LAST, 2))
        con.execute("CREATE SCHEMA raw").fetchall()
        con.execute("CREATE SCHEMA whole").fetchall()
        for view, query in compute(con, FIRST, LAST).items():
            con.execute(f"CREATE TABLE whole.{view} AS {query}").fetchall()
        for table in ("schedule", "outcomes", "weather", "planes", "airports", "airlines"):
            con.execute(f"CREATE TABLE raw.{table} AS FROM {table}").fetchall()
            con.execute(f"DROP TABLE {table}").fetchall()
        yield con


def see(con: duckdb.DuckDBPyConnection, first: str, last: str, *, before: str | None = None) -> None:
    """Let queries see the raw partitions first..last and, of those, only rows known before an instant."""
    for table in ("schedule", "outcomes", "weather", "planes"):
        wanted = f"(ds BETWEEN '{first}' AND '{last}' OR ds = 'reference')"
        if before and table in ("outcomes", "weather"):
            wanted += f" AND known_at < TIMESTAMPTZ '{before}'"
        con.execute(f"CREATE OR REPLACE TEMP VIEW {table} AS FROM raw.{table} WHERE {wanted}").fetchall()


def changed(con: duckdb.DuckDBPyConnection, first: str, last: str) -> set[str]:
    """Return the views whose rows of first..last, computed from the visible rows, differ from ``whole``."""
    found = set()
    for view, query in compute(con, first, last).items():
        con.execute(f"CREATE OR REPLACE TEMP TABLE now AS {query}").fetchall()
        whole = f"FROM whole.{view} WHERE ds BETWEEN '{first}' AND '{last}'"
        rows = con.execute(f"({whole} EXCEPT ALL FROM now) UNION ALL (FROM now EXCEPT ALL {whole})").fetchall()
        if rows:
            found.add(view)
    return found


@given(days)
@settings(max_examples=5)
def test_a_day_alone_equals_the_day_within_a_range(weeks: duckdb.DuckDBPyConnection, day: str) -> None:
    read = load_use_case("flights").lookback(Span.one(day))
    see(weeks, read.first, read.last)
    assert changed(weeks, day, day) == set()


@given(days)
@settings(max_examples=5)
def test_deleting_all_that_became_known_after_the_clock_changes_nothing(
    weeks: duckdb.DuckDBPyConnection, day: str
) -> None:
    see(weeks, FIRST, day, before=partitions.clock(day, TIME_ZONE).isoformat())
    assert changed(weeks, day, day) == set()


def test_deleting_what_was_known_before_the_clock_is_noticed(weeks: duckdb.DuckDBPyConnection) -> None:
    """Show that the two tests above can fail."""
    see(weeks, FIRST, "2013-02-20", before=partitions.clock("2013-02-19", TIME_ZONE).isoformat())
    untouched = {"calendar", "dest_density", "hour_density", "route_density"}
    assert changed(weeks, "2013-02-20", "2013-02-20") == set(feature_sql.views(FLIGHTS)) - untouched


def test_one_thread_gives_the_bits_of_two(weeks: duckdb.DuckDBPyConnection) -> None:
    see(weeks, FIRST, LAST)
    weeks.execute("SET threads = 1").fetchall()
    try:
        assert changed(weeks, FIRST, LAST) == set()
    finally:
        weeks.execute("SET threads = 2").fetchall()


@pytest.mark.parametrize("view", feature_sql.views(FLIGHTS))
def test_each_entity_of_a_day_has_one_row_at_its_clock(weeks: duckdb.DuckDBPyConnection, view: str) -> None:
    columns = [row[0] for row in weeks.execute(f"DESCRIBE whole.{view}").fetchall()]
    keys = columns[: columns.index("event_timestamp")]
    rows, distinct, at_clock = weeks.execute(
        f"""SELECT count(*), count(DISTINCT (ds, {", ".join(keys)})),
            count(*) FILTER (event_timestamp = clock AND created_timestamp = clock)
        FROM whole.{view} JOIN partitions USING (ds)"""
    ).fetchall()[0]
    assert rows == distinct == at_clock > 0


def test_every_flight_finds_its_row_in_every_view(weeks: duckdb.DuckDBPyConnection) -> None:
    see(weeks, FIRST, LAST)
    rows = feature_sql.scoring_rows(weeks, FLIGHTS, Span(first=FIRST, last=LAST))
    for view in feature_sql.views(FLIGHTS):
        columns = [row[0] for row in weeks.execute(f"DESCRIBE whole.{view}").fetchall()]
        keys = ", ".join(columns[: columns.index("event_timestamp")])
        lost = weeks.execute(f"SELECT count(*) FROM ({rows}) ANTI JOIN whole.{view} USING ({keys})").fetchall()
        assert lost == [(0,)], view


def test_the_look_back_is_clipped_at_the_start_of_history() -> None:
    case = load_use_case("flights")
    asked = Span(first="2013-11-02", last="2013-11-05")
    assert case.lookback(asked) == Span(first="2013-10-06", last="2013-11-05")
    assert case.lookback(Span.one("2013-01-03")) == Span(first=HISTORY, last="2013-01-03")
    assert case.first_label_period == "2013-01-29"
