"""Depots that exist nowhere: the parcels that are due each week, and what became of those of four weeks before."""

from __future__ import annotations

import duckdb

from include.core import partitions

ZONE = "Europe/Stockholm"
DEPOTS = ("Malmö", "Łódź", "Ἀθῆναι")
STATES = """CASE
    WHEN luck < 6 + 14 * (n = 2)::INT THEN 'lost'
    WHEN luck < 20 + 50 * (kilos > 15)::INT + 10 * (service = 'påse')::INT THEN 'late'
    ELSE 'on time' END"""


class Depots:
    """Make the rows of any week from its date alone."""

    def __init__(self, cache: str, parcels: int = 20) -> None:
        self._parcels = parcels

    def deliver(self, con: duckdb.DuckDBPyConnection, first: str, last: str) -> dict[str, str]:
        """Return the parcels due in each week, known when it begins, and the outcomes that became known before it."""
        weeks = ", ".join(
            f"('{key}', DATE '{partitions.parse(key)}', TIMESTAMPTZ '{partitions.clock(key, ZONE).isoformat()}')"
            for key in partitions.key_range(first, last)
        )
        depots = ", ".join(f"('{name}', {n})" for n, name in enumerate(DEPOTS))

        def parcels(weeks_before: int) -> str:
            return f"""
                SELECT ds, week, known_at, depot, n, parcel, hash(week, depot, parcel) % 100 AS luck,
                    CAST(hash(parcel, week) % 30 AS BIGINT) AS kilos,
                    CASE hash(week, parcel, 1) % 3 WHEN 0 THEN 'påse' ELSE 'låda' END AS service
                FROM (
                    SELECT ds, day - 7 * {weeks_before} AS week, clock - INTERVAL 1 MICROSECOND AS known_at,
                        depot, n, 'försändelse ' || i AS parcel
                    FROM (VALUES {weeks}) AS w (ds, day, clock), (VALUES {depots}) AS d (depot, n),
                        range({self._parcels}) AS p (i))"""

        return {
            "due": f"SELECT ds, depot, parcel, kilos, service FROM ({parcels(0)}) ORDER BY depot, parcel",
            "arrivals": f"SELECT ds, depot, parcel, week, {STATES} AS state, known_at FROM ({parcels(4)}) "
            "ORDER BY depot, parcel",
        }
