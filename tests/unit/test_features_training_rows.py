"""The rows that a training may learn from, and the rows that scoring predicts."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from include.core import partitions
from include.core.errors import UnknownPartition
from include.core.partitions import Span
from include.feature_store import feature_sql
from tests.unit.flights_case import FLIGHTS, TIME_ZONE, connection, land, source

AS_OF = "2013-01-20"


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with connection() as con:
        land(con, source(), "2013-01-01", "2013-01-25")
        yield con


def training(con: duckdb.DuckDBPyConnection, first: str = "2013-01-10", as_of: str = AS_OF) -> str:
    days = Span(first=first, last=FLIGHTS.last_label_period(as_of))
    return feature_sql.training_rows(con, FLIGHTS, days, as_of)


def test_labels_stop_two_days_before_the_clock_and_were_known_by_it(con: duckdb.DuckDBPyConnection) -> None:
    clock = partitions.clock(AS_OF, TIME_ZONE).isoformat()
    first, last, late, unlabelled, rows = con.execute(
        f"""SELECT min(ds), max(ds), count(*) FILTER (label_known_at >= TIMESTAMPTZ '{clock}'),
            count(*) FILTER (disrupted IS NULL), count(*) FROM ({training(con)})"""
    ).fetchall()[0]
    assert (first, last, late, unlabelled) == ("2013-01-10", "2013-01-18", 0, 0)
    scheduled = con.execute("SELECT count(*) FROM schedule WHERE ds BETWEEN '2013-01-10' AND '2013-01-18'").fetchall()
    assert scheduled == [(rows,)]


def test_deleting_what_became_known_after_the_clock_changes_no_row(
    con: duckdb.DuckDBPyConnection,
) -> None:
    query = training(con)
    before = con.execute(f"FROM ({query}) ORDER BY ALL").fetchall()
    clock = partitions.clock(AS_OF, TIME_ZONE).isoformat()
    con.execute("BEGIN").fetchall()
    con.execute(f"DELETE FROM outcomes WHERE known_at >= TIMESTAMPTZ '{clock}'").fetchall()
    con.execute(f"DELETE FROM schedule WHERE ds > '{AS_OF}'").fetchall()
    after = con.execute(f"FROM ({query}) ORDER BY ALL").fetchall()
    con.execute("ROLLBACK").fetchall()
    assert before == after


def test_scoring_rows_carry_no_outcome(con: duckdb.DuckDBPyConnection) -> None:
    query = feature_sql.scoring_rows(con, FLIGHTS, Span(first="2013-01-20", last="2013-01-21"))
    columns = {row[0]: row[1] for row in con.execute(f"DESCRIBE {query}").fetchall()}
    assert columns == {
        "ds": "VARCHAR",
        "flight_date": "DATE",
        "carrier": "VARCHAR",
        "flight": "BIGINT",
        "origin": "VARCHAR",
        "dest": "VARCHAR",
        "sched_dep_hour": "BIGINT",
        "sched_dep_minute_of_day": "BIGINT",
        "sched_arr_minute_of_day": "BIGINT",
        "distance": "BIGINT",
        "event_timestamp": "TIMESTAMP WITH TIME ZONE",
    }


def test_training_adds_the_label_and_when_it_was_known(con: duckdb.DuckDBPyConnection) -> None:
    rows = {row[0] for row in con.execute(f"DESCRIBE {training(con)}").fetchall()}
    scoring = con.execute(f"DESCRIBE {feature_sql.scoring_rows(con, FLIGHTS, Span.one(AS_OF))}").fetchall()
    assert rows - {row[0] for row in scoring} == {"disrupted", "label_known_at"}


def test_no_day_with_complete_labels(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(UnknownPartition, match=r"2013-01-19\.\.2013-01-18"):
        training(con, first="2013-01-19")
