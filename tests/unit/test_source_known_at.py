"""Each row is delivered once, by the partition at whose clock it was first known."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest

from include.core import partitions
from tests.unit.flights_case import TIME_ZONE, connection, land, source

KEY = "flight_date, carrier, flight, origin"


@pytest.fixture(scope="module")
def year() -> Iterator[duckdb.DuckDBPyConnection]:
    with connection() as con:
        land(con, source(), "2013-01-01", "2013-12-31")
        clocks = ", ".join(
            f"('{key}', TIMESTAMPTZ '{partitions.clock(partitions.shift(key, -1), TIME_ZONE)}',"
            f" TIMESTAMPTZ '{partitions.clock(key, TIME_ZONE)}')"
            for key in partitions.key_range("2013-01-01", "2013-12-31")
        )
        con.execute(f"CREATE TABLE windows AS SELECT * FROM (VALUES {clocks}) w (ds, opens, closes)").fetchall()
        yield con


def one(con: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    return con.execute(query).fetchall()[0]


@pytest.mark.parametrize("table", ["outcomes", "weather"])
def test_known_within_the_window_of_its_partition(year: duckdb.DuckDBPyConnection, table: str) -> None:
    rows, inside = one(
        year,
        f"""SELECT count(*), count(*) FILTER (known_at >= opens AND known_at < closes)
        FROM {table} JOIN windows USING (ds)""",
    )
    assert rows == inside > 0


def test_every_outcome_known_within_the_year_is_delivered_once(year: duckdb.DuckDBPyConnection) -> None:
    rows, keys = one(year, f"SELECT count(*), count(DISTINCT ({KEY})) FROM outcomes")
    never = year.execute(
        f"""SELECT DISTINCT flight_date
        FROM schedule ANTI JOIN outcomes USING ({KEY})"""
    ).fetchall()
    assert rows == keys
    # the last two evenings: what was known on 2013-12-31 or later belongs to partitions of 2014
    assert {str(day) for (day,) in never} == {"2013-12-30", "2013-12-31"}


def test_nothing_is_known_before_it_happened(year: duckdb.DuckDBPyConnection) -> None:
    before_landing, before_departure, early_cancellation = one(
        year,
        f"""SELECT
            count(*) FILTER (air_time IS NOT NULL AND
                known_at < scheduled_departure + to_minutes(dep_delay) + to_minutes(air_time)),
            count(*) FILTER (known_at < scheduled_departure + to_minutes(dep_delay)),
            count(*) FILTER (cancelled AND known_at < scheduled_departure)
        FROM outcomes JOIN schedule USING ({KEY})""",
    )
    assert (before_landing, before_departure, early_cancellation) == (0, 0, 0)


@pytest.mark.parametrize(
    ("flight", "landed_at", "zone"),
    [
        (("2013-01-01", "UA", 1545, "EWR"), datetime(2013, 1, 1, 8, 30), "America/Chicago"),
        # overnight to Puerto Rico, one hour ahead of New York in winter
        (("2013-01-01", "B6", 739, "JFK"), datetime(2013, 1, 2, 4, 25), "America/Puerto_Rico"),
        # 01:14 happened twice in Los Angeles that night; 339 minutes of flight reach the first
        (("2013-11-02", "VX", 413, "JFK"), datetime(2013, 11, 3, 1, 14, fold=0), "America/Los_Angeles"),
    ],
)
def test_landing_is_read_in_the_zone_of_the_destination(
    year: duckdb.DuckDBPyConnection, flight: tuple[Any, ...], landed_at: datetime, zone: str
) -> None:
    found = one(
        year,
        "SELECT epoch(known_at) FROM outcomes WHERE ({}) = ('{}', '{}', {}, '{}')".format(
            KEY.replace("flight_date", "CAST(flight_date AS VARCHAR)"), *flight
        ),
    )
    assert datetime.fromtimestamp(found[0], UTC) == landed_at.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def test_reported_clock_time_agrees_wherever_it_exists(year: duckdb.DuckDBPyConnection) -> None:
    """arr_time is not used to find the landing, so it is a witness."""
    year.execute(
        """CREATE OR REPLACE TEMP VIEW landed AS
        SELECT o.*, known_at AT TIME ZONE tzone AS wall FROM outcomes o JOIN airports a ON o.dest = a.faa
        WHERE arr_delay IS NOT NULL"""
    ).fetchall()
    disagree = year.execute(
        """SELECT CAST(flight_date AS VARCHAR), carrier, flight, arr_time FROM landed
        WHERE (hour(wall) * 100 + minute(wall)) % 2400 <> arr_time % 2400"""
    ).fetchall()
    assert one(year, "SELECT count(*) > 300000 FROM landed") == (True,)
    # it reports 02:03 on the night on which clocks went from 02:00 to 03:00
    assert disagree == [("2013-03-09", "B6", 35, 203)]


def test_flights_that_never_land_wait_for_the_end_of_their_day(
    year: duckdb.DuckDBPyConnection,
) -> None:
    cancelled = year.execute("SELECT DISTINCT CAST(ds AS DATE) - flight_date FROM outcomes WHERE cancelled").fetchall()
    diverted = year.execute(
        "SELECT DISTINCT CAST(ds AS DATE) - flight_date FROM outcomes WHERE diverted ORDER BY 1"
    ).fetchall()
    assert cancelled == [(1,)]
    # two: still flying at midnight, when nobody knew of the diversion
    assert diverted == [(1,), (2,)]


@pytest.mark.parametrize(("key", "hour", "times"), [("2013-03-11", 2, 0), ("2013-11-04", 1, 2), ("2013-06-01", 1, 1)])
def test_an_hour_that_vanishes_or_repeats_stays_in_its_day(
    year: duckdb.DuckDBPyConnection, key: str, hour: int, times: int
) -> None:
    found = one(
        year,
        f"""SELECT count(*) FILTER (hour(observed_at AT TIME ZONE '{TIME_ZONE}') = {hour}) FROM weather
        WHERE ds = '{key}' AND origin = 'EWR'""",
    )
    assert found == (times,)


def test_first_partition_knows_no_outcome_and_no_weather(year: duckdb.DuckDBPyConnection) -> None:
    for table, rows in (("schedule", 842), ("outcomes", 0), ("weather", 0)):
        assert one(year, f"SELECT count(*) FROM {table} WHERE ds = '2013-01-01'") == (rows,)


def test_schedule_holds_nothing_that_midnight_could_not_know(year: duckdb.DuckDBPyConnection) -> None:
    columns = [row[0] for row in year.execute("DESCRIBE schedule").fetchall()]
    assert columns == [
        "ds", "flight_date", "carrier", "flight", "origin", "dest", "sched_dep_time", "sched_arr_time",
        "sched_dep_hour", "sched_dep_minute_of_day", "scheduled_departure", "distance",
    ]  # fmt: skip
    # nor in the order of rows: the upstream file is sorted by actual departure
    keys = "ds, carrier, flight, origin"
    rows = year.execute(f"SELECT {keys} FROM schedule").fetchall()
    assert rows == sorted(rows)


def test_scheduled_departure_is_the_instant_of_the_local_schedule(year: duckdb.DuckDBPyConnection) -> None:
    wrong = one(
        year,
        f"""SELECT count(*) FROM schedule
        WHERE scheduled_departure AT TIME ZONE '{TIME_ZONE}'
            <> CAST(flight_date AS TIMESTAMP) + to_minutes(sched_dep_minute_of_day)""",
    )
    assert wrong == (0,)


def test_faults_of_the_data_are_left_in(year: duckdb.DuckDBPyConnection) -> None:
    assert one(year, "SELECT count(*) FROM weather WHERE wind_speed > 1000") == (1,)
    assert one(year, "SELECT count(*) > 0 FROM outcomes WHERE tailnum IS NULL") == (True,)
    assert one(year, "SELECT count(*) > 0 FROM outcomes WHERE dep_time = 2400") == (True,)
    assert one(year, "SELECT count(*) FROM planes WHERE year IS NULL") == (70,)


def test_a_day_alone_is_the_day_within_the_year(year: duckdb.DuckDBPyConnection) -> None:
    for key in ("2013-01-01", "2013-03-11", "2013-11-03"):
        for table, query in source().deliver(year, key, key).items():
            if table in ("schedule", "outcomes", "weather"):
                alone = year.execute(query).fetchall()
                assert alone == year.execute(f"SELECT * FROM {table} WHERE ds = '{key}'").fetchall()
