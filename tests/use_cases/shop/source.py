"""A bakery that exists nowhere: its shops, and what each sold, five days late."""

from __future__ import annotations

import duckdb

from include.core import partitions

ZONE = "Europe/Athens"
NAMES = ("Bäckerei", "Café Nord", "Φούρνος", "L'Épi", 'the "old" mill', "Östra 5 % & co")


class Bakery:
    """Make the rows of any day from its date alone."""

    def __init__(self, cache: str, shops: int = 3) -> None:
        self._shops = NAMES[:shops]

    def deliver(self, con: duckdb.DuckDBPyConnection, first: str, last: str) -> dict[str, str]:
        """Return the plan of each day, known when it begins, and the sales that became known before it."""
        keys = partitions.key_range(first, last)
        days = ", ".join(
            f"('{key}', DATE '{key}', TIMESTAMPTZ '{partitions.clock(key, ZONE).isoformat()}')" for key in keys
        )
        shops = ", ".join(f"('{name.replace(chr(39), chr(39) * 2)}', {n})" for n, name in enumerate(self._shops))
        base = f"(VALUES {days}) AS d (ds, day, clock), (VALUES {shops}) AS s (shop, n)"
        offer = "CAST(hash(shop, {day}) % 3 = 0 AS BIGINT)"
        sold = (
            f"CAST(40 + 15 * n + 12 * ({offer.format(day='sold_on')}) + 6 * (isodow(sold_on) > 5)::INT "
            "+ hash(sold_on, n) % 7 AS DOUBLE)"
        )
        return {
            "plan": f"SELECT ds, shop, {offer.format(day='day')} AS offer, isodow(day) AS weekday "
            f"FROM {base} ORDER BY shop",
            "sales": f"SELECT ds, shop, sold_on, {sold} AS sold, known_at FROM (SELECT ds, shop, n, "
            f"day - 4 AS sold_on, clock - INTERVAL 1 MICROSECOND AS known_at FROM {base}) ORDER BY shop, sold_on",
        }
