"""Partition keys and their clocks.

A partition key names a local calendar day (``2013-11-02``). Its clock is the first instant at which the
local calendar shows that day, and the day lasts until the next key's clock: 25 hours on
2013-11-03 in New York, 23 on 2013-03-10. SQL gets the clock as a column and never computes it: DuckDB takes the
second of two midnights, and has a time-zone database of its own.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping, Sequence
from datetime import MAXYEAR, MINYEAR, UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict

from include.core.errors import UnknownPartition

# one source of rules on every machine: the pinned package tzdata, not the system's files, which may be years older
zoneinfo.reset_tzpath(to=())


def parse(key: str) -> date:
    """Return the calendar day that ``key`` names.

    Raises:
        UnknownPartition: ``key`` is not a day written as ``YYYY-MM-DD``, or has no neighbours in Python's calendar.
    """
    try:
        day = date.fromisoformat(key)
    except (TypeError, ValueError):
        day = None
    # fromisoformat also takes 20131102 and 2013-W44-6: two spellings would be two partitions
    if day is None or day.isoformat() != key:
        raise UnknownPartition(f"partition {key!r} is not a day; write it as 2013-11-02")
    # a day at either end of the calendar has no day beside it, and its clock may lie outside
    if not MINYEAR < day.year < MAXYEAR:
        raise UnknownPartition(f"partition {key} is outside the calendar; give a day of the years 2 to 9998")
    return day


def shift(key: str, days: int) -> str:
    """Return the key that lies ``days`` calendar days after ``key`` (before, when negative)."""
    return (parse(key) + timedelta(days=days)).isoformat()


def key_range(first: str, last: str) -> tuple[str, ...]:
    """List every key from ``first`` to ``last``, both included, in order.

    Raises:
        UnknownPartition: a key is malformed, or ``last`` lies before ``first``.
    """
    begin, end = parse(first), parse(last)
    if end < begin:
        raise UnknownPartition(f"range {first}..{last} ends before it begins; swap the two")
    return tuple((begin + timedelta(days=n)).isoformat() for n in range((end - begin).days + 1))


@cache
def zone(time_zone: str) -> ZoneInfo:
    """Return the rules of an IANA zone, from the package tzdata.

    Raises:
        KeyError, ValueError, OSError: there is no such zone.
    """
    # not from zoneinfo's cache: another module may have filled it from the system's files
    return ZoneInfo.no_cache(time_zone)


def clock(key: str, time_zone: str) -> datetime:
    """Return the instant at which ``key`` begins in ``time_zone``, as an aware UTC datetime.

    Of a midnight that happens twice it is the first, and for one that does not exist the instant at which the local
    clocks jump over it. A day that was left out altogether has the clock of the day after it.
    """
    day = parse(key)
    midnight = datetime.combine(day, time(), zone(time_zone))
    begin = midnight.astimezone(UTC)
    if _local(begin, time_zone) == midnight.replace(tzinfo=None):
        return begin
    # the clocks jump over midnight; with the offset after the jump it lies before the jump
    return _first_instant(day, time_zone, midnight.replace(fold=1).astimezone(UTC), begin)


def _first_instant(day: date, time_zone: str, before: datetime, after: datetime) -> datetime:
    """Return the first instant of ``day`` or later, which comes after ``before`` and not after ``after``."""
    low, high = 0, int((after - before).total_seconds())
    while high - low > 1:
        middle = (low + high) // 2
        reached = _local(before + timedelta(seconds=middle), time_zone).date() >= day
        low, high = (low, middle) if reached else (middle, high)
    return before + timedelta(seconds=high)


def _local(instant: datetime, time_zone: str) -> datetime:
    return instant.astimezone(zone(time_zone)).replace(tzinfo=None)


def key_at(instant: datetime, time_zone: str) -> str:
    """Return the key of the period that contains ``instant`` (aware): the last one whose clock has come.

    It is the local day, except where clocks that are put back show the end of the day before once more.
    """
    if instant.tzinfo is None:
        raise ValueError(f"{instant} has no time zone")
    key = _local(instant, time_zone).date().isoformat()
    following = shift(key, 1)
    return following if clock(following, time_zone) <= instant else key


def chunks(rows: Mapping[str, int], limit: int) -> list[tuple[str, ...]]:
    """Split the keys of ``rows``, the row count of each partition in order, into chunks of at most ``limit`` rows.

    A partition with more rows is a chunk alone, or with empty partitions beside it.
    """
    found: list[tuple[str, ...]] = []
    held = 0
    for key, count in rows.items():
        if found and (count == 0 or held == 0 or held + count <= limit):
            found[-1] = (*found[-1], key)
            held += count
        else:
            found.append((key,))
            held = count
    return found


class Span(BaseModel):
    """The first and the last partition key of a range, both included. A single partition is a span of one.

    It is also what tasks hand to one another, so it is plain JSON.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    first: str
    last: str

    @classmethod
    def of(cls, keys: Sequence[str]) -> Span:
        """Return the span from the first to the last of ``keys``, which are in order and without gaps."""
        return cls(first=keys[0], last=keys[-1])

    @classmethod
    def one(cls, key: str) -> Span:
        """Return the span of one partition."""
        return cls(first=key, last=key)

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key of the span, in order.

        Raises:
            UnknownPartition: a key is malformed, or ``last`` lies before ``first``.
        """
        return key_range(self.first, self.last)

    def with_days_before(self, count: int, not_before: str) -> Span:
        """Return the span that begins ``count`` partitions earlier, but never before ``not_before``."""
        return Span(first=max(shift(self.first, -count), not_before), last=self.last)

    def __str__(self) -> str:
        """Write the span for a message."""
        return self.first if self.first == self.last else f"{self.first}..{self.last}"
