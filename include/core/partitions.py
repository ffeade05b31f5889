"""Partition keys and their clocks.

A partition key names a local calendar day (``2013-11-02``). Its clock is the instant at which that
day begins in the use case's time zone, and the day lasts until the next key's clock: 25 hours on
2013-11-03 in New York, 23 on 2013-03-10.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict

from include.core.errors import UnknownPartition


def parse(key: str) -> date:
    """Return the calendar day that ``key`` names.

    Raises:
        UnknownPartition: ``key`` is not a day written as ``YYYY-MM-DD``.
    """
    try:
        day = date.fromisoformat(key)
    except (TypeError, ValueError):
        day = None
    # fromisoformat also takes 20131102 and 2013-W44-6: two spellings would be two partitions
    if day is None or day.isoformat() != key:
        raise UnknownPartition(f"partition {key!r} is not a day; write it as 2013-11-02")
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


def clock(key: str, time_zone: str) -> datetime:
    """Return the instant at which ``key`` begins in ``time_zone``, as an aware UTC datetime."""
    day = parse(key)
    midnight = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(time_zone))
    return midnight.astimezone(UTC)


def key_at(instant: datetime, time_zone: str) -> str:
    """Return the key of the day that contains ``instant`` (aware) in ``time_zone``."""
    if instant.tzinfo is None:
        raise ValueError(f"{instant} has no time zone")
    return instant.astimezone(ZoneInfo(time_zone)).date().isoformat()


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
