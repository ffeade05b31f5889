"""The live replay repeats whole weeks without end, and stays true to the clock of the live day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.core import partitions
from include.use_cases.flights.source import FlightsSource
from tests.unit.flights_case import TIME_ZONE, connection, land, source

EVENTS = ("schedule", "outcomes", "weather")
live_days = st.dates(date(2013, 1, 2), date(2080, 1, 1))


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with connection() as con:
        land(con, source(), "2013-01-01", "2013-12-31")
        yield con


@given(live_days)
def test_weekdays_stay_and_days_follow_each_other(day: date) -> None:
    live = source(replay_weeks=52)
    today, tomorrow = live.source_day(day.isoformat()), live.source_day((day + timedelta(days=1)).isoformat())
    assert today.weekday() == day.weekday()
    assert today == live.source_day((day + timedelta(days=364)).isoformat())
    assert tomorrow - today in (timedelta(days=1), timedelta(days=-363))


@given(live_days)
@settings(max_examples=15)
def test_a_live_day_delivers_the_flights_of_its_source_day(con: duckdb.DuckDBPyConnection, day: date) -> None:
    live = source(replay_weeks=52)
    columns = "carrier, flight, origin, dest, sched_dep_time, distance"
    delivered = con.execute(
        f"SELECT flight_date, {columns} FROM ({live.deliver(con, str(day), str(day))['schedule']})"
    ).fetchall()
    expected = con.execute(
        f"SELECT DATE '{day}', {columns} FROM schedule WHERE flight_date = DATE '{live.source_day(str(day))}'"
    ).fetchall()
    assert delivered == expected


@given(live_days)
@settings(max_examples=15)
def test_live_rows_are_known_within_the_live_window(con: duckdb.DuckDBPyConnection, day: date) -> None:
    key = str(day)
    opens, closes = (partitions.clock(partitions.shift(key, n), TIME_ZONE) for n in (-1, 0))
    queries = source(replay_weeks=52).deliver(con, key, key)
    for table in ("outcomes", "weather"):
        rows, inside = con.execute(
            f"""SELECT count(*), count(*) FILTER (ds = '{key}' AND known_at >= TIMESTAMPTZ '{opens}'
                AND known_at < TIMESTAMPTZ '{closes}') FROM ({queries[table]})"""
        ).fetchall()[0]
        assert rows == inside
        assert rows > 0 or table == "weather"


def test_the_first_year_is_2013_itself(con: duckdb.DuckDBPyConnection) -> None:
    queries = source(replay_weeks=52).deliver(con, "2013-01-01", "2013-12-30")
    for table in EVENTS:
        different = con.execute(
            f"""SELECT count(*) FROM (
                (FROM ({queries[table]}) EXCEPT ALL FROM {table})
                UNION ALL (FROM {table} WHERE ds <= '2013-12-30' EXCEPT ALL FROM ({queries[table]})))"""
        ).fetchall()
        assert different == [(0,)], table


def test_no_outcome_is_lost_or_doubled_where_the_year_starts_over(con: duckdb.DuckDBPyConnection) -> None:
    """2013-12-31 replays 2013-01-01; the flights of the evening of 2013-12-30 land in it and in the next."""
    queries = source(replay_weeks=52).deliver(con, "2013-12-20", "2014-01-10")
    lost, doubled = con.execute(
        f"""WITH landed AS (
            SELECT flight_date, carrier, flight, origin, count(*) AS times
            FROM ({queries["outcomes"]}) GROUP BY ALL)
        SELECT count(*) FILTER (times IS NULL), count(*) FILTER (times > 1)
        FROM ({queries["schedule"]}) LEFT JOIN landed USING (flight_date, carrier, flight, origin)
        WHERE flight_date BETWEEN DATE '2013-12-22' AND DATE '2014-01-07'"""
    ).fetchall()[0]
    assert (lost, doubled) == (0, 0)


@pytest.mark.parametrize(
    "first",
    [
        "2018-03-10",  # 2013's change to summer time falls on another date: 02:00 vanishes here
        "2018-11-03",  # 01:00 happens twice here, and on another date in the source
        "2017-11-04",
    ],
)
def test_other_dates_of_summer_time_give_no_duplicate_and_no_early_row(
    con: duckdb.DuckDBPyConnection, first: str
) -> None:
    queries = source(replay_weeks=52).deliver(con, first, partitions.shift(first, 3))
    rows, keys, late = con.execute(
        f"""SELECT count(*), count(DISTINCT (origin, observed_at)),
            count(*) FILTER (observed_at >= known_at) FROM ({queries["weather"]})"""
    ).fetchall()[0]
    assert rows == keys > 250
    assert late == 0


def test_a_live_range_is_the_union_of_its_days(con: duckdb.DuckDBPyConnection) -> None:
    live = source(replay_weeks=52)
    days = partitions.key_range("2025-12-29", "2026-01-02")
    together = live.deliver(con, days[0], days[-1])
    for table in EVENTS:
        alone = [row for day in days for row in con.execute(live.deliver(con, day, day)[table]).fetchall()]
        assert con.execute(together[table]).fetchall() == alone


@pytest.mark.parametrize("weeks", [0, 53, -1])
def test_only_whole_weeks_of_the_year_can_be_repeated(weeks: int) -> None:
    with pytest.raises(ValueError, match="from 1 to 52"):
        FlightsSource("unused", replay_weeks=weeks)
