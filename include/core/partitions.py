"""Partition keys and their clocks.

A partition key names one period, and its spelling says which kind: the hour ``2013-11-02T05Z``, the day ``2013-11-02``,
the ISO week ``2013-W44`` or the month ``2013-11``. Keys of one kind sort as text in the order of time.

The clock of a key is the first instant of its period, and the period lasts until the next key's clock. Days, weeks and
months are those of a local calendar: a day lasts 25 hours on 2013-11-03 in New York, 23 on 2013-03-10. Hours are those
of UTC, because a local hour may come twice or never (docs/decisions/0019). SQL gets the clock as a column and never
computes it: DuckDB takes the second of two midnights, and has a time-zone database of its own.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Mapping, Sequence
from datetime import MAXYEAR, MINYEAR, UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import cache
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict

from include.core.errors import UnknownPartition

# one source of rules on every machine: the pinned package tzdata, not the system's files, which may be years older
zoneinfo.reset_tzpath(to=())


class Period(StrEnum):
    """The kind of period that the partitions of a use case cover."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"

    @property
    def example(self) -> str:
        """A key of this kind, for messages and forms."""
        return _EXAMPLES[self]

    @property
    def pattern(self) -> str:
        """The regular expression that the whole of a key of this kind matches; not all that match are in a calendar."""
        return _PATTERNS[self]

    def length(self, count: int) -> timedelta:
        """Return a duration that ``count`` consecutive periods do not exceed, but for a change of the clocks."""
        return count * _LONGEST[self]


_EXAMPLES = {
    Period.HOUR: "2013-11-02T05Z",
    Period.DAY: "2013-11-02",
    Period.WEEK: "2013-W44",
    Period.MONTH: "2013-11",
}
_PATTERNS = {
    Period.HOUR: "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}Z",
    Period.DAY: "[0-9]{4}-[0-9]{2}-[0-9]{2}",
    Period.WEEK: "[0-9]{4}-W[0-9]{2}",
    Period.MONTH: "[0-9]{4}-[0-9]{2}",
}
_LONGEST = {
    Period.HOUR: timedelta(hours=1),
    Period.DAY: timedelta(days=1),
    Period.WEEK: timedelta(weeks=1),
    Period.MONTH: timedelta(days=31),
}


def period_of(key: str) -> Period:
    """Return the kind of period that ``key`` names.

    Raises:
        UnknownPartition: no kind of period is written like this.
    """
    for period, pattern in _PATTERNS.items():
        # other spellings that Python reads, such as 20131102 and 2013-W44-6, would be second names of a partition
        if isinstance(key, str) and re.fullmatch(pattern, key):
            return period
    raise UnknownPartition(
        f"partition {key!r} is no period; write it as {', '.join(_EXAMPLES.values())} (an hour, a day, a week, a month)"
    )


def check(key: str, period: Period) -> str:
    """Return ``key`` if it names a period of this kind.

    Raises:
        UnknownPartition: it is another kind of period, or none.
    """
    if not (isinstance(key, str) and re.fullmatch(period.pattern, key)):
        raise UnknownPartition(f"partition {key!r} is not {_article(period)}; write it as {period.example}")
    _number(key)
    return key


def begin(key: str) -> datetime:
    """Return what the clocks show when the period begins, without a time zone: local time, or UTC for an hour.

    Raises:
        UnknownPartition: no kind of period is written like this, or it has no neighbours in Python's calendar.
    """
    period = period_of(key)
    try:
        match period:
            case Period.HOUR | Period.DAY:
                found = datetime.fromisoformat(key.removesuffix("Z"))
            case Period.WEEK:
                found = datetime.combine(date.fromisocalendar(int(key[:4]), int(key[6:]), 1), time())
            case Period.MONTH:
                found = datetime.fromisoformat(f"{key}-01")
    except ValueError:
        raise UnknownPartition(f"partition {key!r} is not {_article(period)}; write it as {period.example}") from None
    # a period at either end of the calendar has none beside it, and its clock may lie outside
    if not MINYEAR < int(key[:4]) < MAXYEAR:
        raise UnknownPartition(f"partition {key} is outside the calendar; give one of the years 2 to 9998")
    return found


def parse(key: str) -> date:
    """Return the first day of the period that ``key`` names; raises like :func:`begin`."""
    return begin(key).date()


def _article(period: Period) -> str:
    return f"{'an' if period is Period.HOUR else 'a'} {period}"


def _number(key: str) -> tuple[Period, int]:
    """Return the kind of a key's period and its number: consecutive periods have consecutive numbers."""
    period, first = period_of(key), begin(key)
    day = first.toordinal()
    match period:
        case Period.HOUR:
            return period, day * 24 + first.hour
        case Period.DAY:
            return period, day
        case Period.WEEK:
            return period, day // 7
        case Period.MONTH:
            return period, first.year * 12 + first.month - 1


def _key(period: Period, number: int) -> str:
    """Return the key of a period's number."""
    try:
        match period:
            case Period.HOUR:
                return f"{date.fromordinal(number // 24)}T{number % 24:02}Z"
            case Period.DAY:
                return date.fromordinal(number).isoformat()
            case Period.WEEK:
                year, week, _ = date.fromordinal(number * 7 + 1).isocalendar()
                return f"{year:04}-W{week:02}"
            case Period.MONTH:
                return f"{date(number // 12, number % 12 + 1, 1):%Y-%m}".rjust(7, "0")
    except (ValueError, OverflowError):
        raise UnknownPartition(f"{period} number {number} is outside the calendar of the years 2 to 9998") from None


def shift(key: str, count: int) -> str:
    """Return the key that lies ``count`` periods after ``key`` (before, when negative)."""
    period, number = _number(key)
    return _key(period, number + count)


def between(first: str, last: str) -> int:
    """Return how many periods ``last`` lies after ``first``; negative when it lies before.

    Raises:
        UnknownPartition: a key is malformed, or the two are different kinds of period.
    """
    (period, begins), (other, ends) = _number(first), _number(last)
    if period is not other:
        raise UnknownPartition(
            f"{first} is {_article(period)} and {last} is {_article(other)}; a range has one kind of period"
        )
    return ends - begins


def key_range(first: str, last: str) -> tuple[str, ...]:
    """List every key from ``first`` to ``last``, both included, in order.

    Raises:
        UnknownPartition: a key is malformed, the two are different kinds, or ``last`` lies before ``first``.
    """
    count = between(first, last)
    if count < 0:
        raise UnknownPartition(f"range {first}..{last} ends before it begins; swap the two")
    period, number = _number(first)
    return tuple(_key(period, number + n) for n in range(count + 1))


def key_of(shown: date | datetime, period: Period) -> str:
    """Return the key of the period in which the clocks show ``shown`` (without a time zone; UTC for an hour)."""
    match period:
        case Period.HOUR:
            return f"{shown:%Y-%m-%dT%HZ}".rjust(14, "0")
        case Period.DAY:
            return f"{shown:%Y-%m-%d}".rjust(10, "0")
        case Period.WEEK:
            year, week, _ = shown.isocalendar()
            return f"{year:04}-W{week:02}"
        case Period.MONTH:
            return f"{shown:%Y-%m}".rjust(7, "0")


def block_of(key: str) -> str:
    """Return the block of rows that are resampled together: the UTC day of an hour, else the period itself.

    Rows of one hour depend on those of the next; a day is the shortest block that holds most of what they share.
    """
    return key[:10] if period_of(key) is Period.HOUR else key


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
    clocks jump over it. A day that was left out altogether has the clock of the day after it. Hours are those of UTC.
    """
    shown = begin(key)
    if period_of(key) is Period.HOUR:
        return shown.replace(tzinfo=UTC)
    midnight = shown.replace(tzinfo=zone(time_zone))
    instant = midnight.astimezone(UTC)
    if _local(instant, time_zone) == shown:
        return instant
    # the clocks jump over midnight; with the offset after the jump it lies before the jump
    return _first_instant(shown.date(), time_zone, midnight.replace(fold=1).astimezone(UTC), instant)


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


def key_at(instant: datetime, time_zone: str, period: Period) -> str:
    """Return the key of the period that contains ``instant`` (aware): the last one whose clock has come.

    It is what local clocks show, except where clocks that are put back show the end of the period before once more.
    """
    if instant.tzinfo is None:
        raise ValueError(f"{instant} has no time zone")
    key = key_of(_local(instant, "UTC" if period is Period.HOUR else time_zone), period)
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
            UnknownPartition: a key is malformed, the two are different kinds, or ``last`` lies before ``first``.
        """
        return key_range(self.first, self.last)

    def with_periods_before(self, count: int, not_before: str) -> Span:
        """Return the span that begins ``count`` periods earlier, but never before ``not_before``."""
        return Span(first=max(shift(self.first, -count), not_before), last=self.last)

    def __str__(self) -> str:
        """Write the span for a message."""
        return self.first if self.first == self.last else f"{self.first}..{self.last}"
