"""The days on which local midnight is unlike other midnights, in every time zone."""

from __future__ import annotations

import functools
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from include.core import partitions


@functools.cache
def changed_midnights(first_year: int, last_year: int) -> tuple[tuple[str, date], ...]:
    """Return zone and day of each midnight near which the zone's clocks are changed."""
    found = {
        (zone, day) for zone in sorted(zoneinfo.available_timezones()) for day in _days(zone, first_year, last_year)
    }
    return tuple(sorted(found))


def _days(zone: str, first_year: int, last_year: int) -> Iterator[date]:
    rules = partitions.zone(zone)
    begin, step = datetime(first_year, 1, 1, tzinfo=UTC), timedelta(days=7)
    while begin.year <= last_year:
        if begin.astimezone(rules).utcoffset() != (begin + step).astimezone(rules).utcoffset():
            change = _change(rules, begin, begin + step)
            before, after = ((change + shift).astimezone(rules) for shift in (-timedelta(seconds=1), timedelta()))
            if before.date() != after.date() or after.hour == 0:
                yield max(before, after, key=lambda local: local.replace(tzinfo=None)).date()
        begin += step


def _change(rules: zoneinfo.ZoneInfo, low: datetime, high: datetime) -> datetime:
    """Return the first instant after ``low`` with the offset of ``high``."""
    offset = high.astimezone(rules).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = (low + (high - low) / 2).replace(microsecond=0)
        low, high = (low, middle) if middle.astimezone(rules).utcoffset() == offset else (middle, high)
    return high
