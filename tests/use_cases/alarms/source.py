"""A plant that exists nowhere: alarms of a few sensors, most hours none, and a few hours later what was behind them."""

from __future__ import annotations

import duckdb

from include.core import partitions

SENSORS = ("pump 1", "pump 2", "Förderband", "kiln")
LATE = 3


class Plant:
    """Make the alarms of any hour from the hour alone; every seventh or so of a sensor's hours has one."""

    def __init__(self, cache: str) -> None:
        pass

    def deliver(self, con: duckdb.DuckDBPyConnection, first: str, last: str) -> dict[str, str]:
        """Return the alarms of the hour before each partition, and the outcomes of those that are three hours older."""
        keys = ", ".join(
            f"('{key}', TIMESTAMPTZ '{partitions.clock(key, 'UTC').isoformat()}')"
            for key in partitions.key_range(first, last)
        )
        sensors = ", ".join(f"('{name}', {n})" for n, name in enumerate(SENSORS))

        def raised(hours: int) -> str:
            return (
                f"(SELECT ds, clock, sensor, n, clock - INTERVAL {hours} HOUR AS hour, "
                "hash(epoch(hour)::BIGINT, n) AS luck "
                f"FROM (VALUES {keys}) AS k (ds, clock), (VALUES {sensors}) AS s (sensor, n) WHERE luck % 7 = 0)"
            )

        known = "clock - INTERVAL 1 MICROSECOND"
        return {
            "alarms": "SELECT ds, sensor, hour + INTERVAL 30 MINUTE AS raised_at, (luck // 7 % 10)::BIGINT AS level "
            f"FROM {raised(1)} ORDER BY sensor, raised_at",
            "outcomes": "SELECT ds, sensor, hour + INTERVAL 30 MINUTE AS raised_at, "
            f"(luck // 7 % 10 + n + luck // 70 % 4 > 7)::BIGINT AS real, {known} AS known_at "
            f"FROM {raised(1 + LATE)} ORDER BY sensor, raised_at",
        }
