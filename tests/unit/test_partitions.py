"""Partition keys name hours, days, weeks or months; the clocks of local ones follow summer time."""

from __future__ import annotations

import os
import subprocess
import sys
import zoneinfo
from datetime import UTC, date, datetime, timedelta
from importlib import resources
from itertools import pairwise
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.core import partitions
from include.core.errors import UnknownPartition
from include.core.partitions import Period, Span
from include.core.repository import REPOSITORY
from tests.zones import changed_midnights

NEW_YORK = "America/New_York"


@pytest.mark.parametrize(("key", "hours"), [("2013-03-10", 23), ("2013-11-03", 25), ("2013-11-02", 24)])
def test_a_day_lasts_as_long_as_it_did_in_new_york(key: str, hours: int) -> None:
    begin, end = (partitions.clock(k, NEW_YORK) for k in (key, partitions.shift(key, 1)))
    assert end - begin == timedelta(hours=hours)


def test_a_clock_is_local_midnight_in_utc() -> None:
    assert partitions.clock("2013-11-03", NEW_YORK) == datetime(2013, 11, 3, 4, tzinfo=UTC)
    assert partitions.clock("2013-11-04", NEW_YORK) == datetime(2013, 11, 4, 5, tzinfo=UTC)
    assert partitions.clock("2013-11-04", NEW_YORK).tzinfo is UTC


def test_a_day_whose_midnight_was_skipped_begins_with_its_first_instant() -> None:
    # in Sao Paulo summer time began at midnight: 2013-10-20 started at 01:00
    clock = partitions.clock("2013-10-20", "America/Sao_Paulo")
    assert partitions.key_at(clock, "America/Sao_Paulo", Period.DAY) == "2013-10-20"
    assert partitions.key_at(clock - timedelta(microseconds=1), "America/Sao_Paulo", Period.DAY) == "2013-10-19"


@given(st.dates(min_value=datetime(1990, 1, 2).date(), max_value=datetime(2035, 12, 30).date()))
def test_the_clock_is_the_first_instant_of_its_day(day: object) -> None:
    key = str(day)
    clock = partitions.clock(key, NEW_YORK)
    assert partitions.key_at(clock, NEW_YORK, Period.DAY) == key
    assert partitions.key_at(clock - timedelta(microseconds=1), NEW_YORK, Period.DAY) == partitions.shift(key, -1)


@pytest.mark.parametrize(
    ("zone", "key", "clock"),
    [
        ("America/Havana", "2013-11-03", "2013-11-03T04:00:00"),
        ("Atlantic/Azores", "2024-10-27", "2024-10-27T00:00:00"),
        # put back at one minute past midnight: the evening before comes once more, after the day has begun
        ("America/St_Johns", "2006-10-29", "2006-10-29T02:30:00"),
        # the clocks jumped from 23:30 to 00:30
        ("America/Toronto", "1919-03-31", "1919-03-31T04:30:00"),
        ("Asia/Beirut", "2024-03-31", "2024-03-30T22:00:00"),
        # Samoa left this day out
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00"),
        ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00"),
    ],
)
def test_of_two_midnights_the_first_counts_and_of_none_the_jump(zone: str, key: str, clock: str) -> None:
    """C06: the clock is the first instant of its day."""
    assert partitions.clock(key, zone) == datetime.fromisoformat(clock).replace(tzinfo=UTC)


def test_every_instant_has_one_key_in_every_zone() -> None:
    """C06: periods follow one another without gap and overlap, at every odd midnight of every zone."""
    seen = 0
    for zone, day in changed_midnights(2010, 2014) + changed_midnights(2022, 2027):
        keys = [(day + timedelta(days=n)).isoformat() for n in (-1, 0, 1, 2)]
        clocks = [partitions.clock(key, zone) for key in keys]
        for key, (begin, end) in zip(keys, pairwise(clocks), strict=False):
            if begin == end:  # a day that was left out
                continue
            seen += 1
            assert begin < end
            for instant in (begin, end - timedelta(microseconds=1), begin + (end - begin) / 2):
                assert partitions.key_at(instant, zone, Period.DAY) == key
            local = (
                begin.astimezone(partitions.zone(zone)),
                (begin - timedelta(seconds=1)).astimezone(partitions.zone(zone)),
            )
            assert local[0].date().isoformat() == key > local[1].date().isoformat()
    assert seen > 500


def test_the_rules_are_those_of_the_pinned_package(tmp_path: Path) -> None:
    """C06: the system's time-zone files are not read, however a process was started."""
    wrong = tmp_path / "America"
    wrong.mkdir()
    wrong.joinpath("New_York").write_bytes(resources.files("tzdata.zoneinfo").joinpath("Asia", "Tokyo").read_bytes())
    code = (
        "from zoneinfo import ZoneInfo; early = ZoneInfo('America/New_York'); from include.core import partitions; "
        "print(partitions.clock('2013-11-03', early.key), early.utcoffset(partitions.datetime.now()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONTZPATH": str(tmp_path)},
        cwd=REPOSITORY,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout.split(" ") == ["2013-11-03", "04:00:00+00:00", "9:00:00\n"]


def test_every_zone_has_the_rules_of_the_pinned_package() -> None:
    """C06: Vancouver keeps summer time from 2026 on, which the system's older files may not know."""
    assert partitions.clock("2026-12-01", "America/Vancouver") == datetime(2026, 12, 1, 7, tzinfo=UTC)
    names = zoneinfo.available_timezones()
    for name in names:
        with resources.files("tzdata.zoneinfo").joinpath(*name.split("/")).open("rb") as file:
            pinned = zoneinfo.ZoneInfo.from_file(file)
        for moment in (datetime(2013, 7, 1), datetime(2026, 12, 1), datetime(2030, 7, 1)):
            assert partitions.zone(name).utcoffset(moment) == pinned.utcoffset(moment)
    assert len(names) > 400


def test_duckdb_agrees_about_new_york() -> None:
    """C06: SQL and suites of flights compute New York's midnight; nothing else leaves a clock to DuckDB."""
    days = [date(2013, 1, 1) + timedelta(days=n) for n in range(25 * 365)]
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'").fetchall()
        query = "SELECT epoch(unnest(?::DATE[])::TIMESTAMP AT TIME ZONE 'America/New_York')"
        found = [row[0] for row in con.execute(query, [days]).fetchall()]
    assert found == [partitions.clock(day.isoformat(), NEW_YORK).timestamp() for day in days]


@pytest.mark.parametrize("key", ["0001-01-01", "9999-12-31"])
def test_the_ends_of_the_calendar_are_refused(key: str) -> None:
    with pytest.raises(UnknownPartition, match="years 2 to 9998"):
        partitions.clock(key, NEW_YORK)


@pytest.mark.parametrize(
    "key",
    ["20131102", "2013-W44-6", "2013-11-2", "2013-02-30", "2013-11-02\n", " 2013-11-02", "", "reference",
     "2013-11-02T00:00:00", "٢٠١٣-١١-٠٢", "'; DROP TABLE x; --", "../2013-11-02", "{{ ds }}", None, 20131102],
)  # fmt: skip
def test_anything_but_a_day_in_one_spelling_is_refused(key: str) -> None:
    with pytest.raises(UnknownPartition, match="write it as 2013-11-02"):
        partitions.parse(key)


def test_ranges_hold_both_ends_and_count_days_not_hours() -> None:
    assert partitions.key_range("2013-11-02", "2013-11-04") == ("2013-11-02", "2013-11-03", "2013-11-04")
    assert partitions.key_range("2013-11-02", "2013-11-02") == ("2013-11-02",)
    assert partitions.shift("2013-11-03", -1) == "2013-11-02"
    with pytest.raises(UnknownPartition, match="swap the two"):
        partitions.key_range("2013-11-04", "2013-11-02")


def test_an_instant_without_a_zone_has_no_key() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        partitions.key_at(datetime(2013, 11, 2), NEW_YORK, Period.DAY)


@pytest.mark.parametrize(
    ("rows", "runs"),
    [
        ({}, []),
        ({"a": 0}, [("a",)]),
        ({"a": 2, "b": 3, "c": 1}, [("a", "b"), ("c",)]),
        # a day is never split, and days without rows ask for no run of their own
        ({"a": 9, "b": 0, "c": 9}, [("a", "b"), ("c",)]),
        ({"a": 0, "b": 9, "c": 5, "d": 0}, [("a", "b"), ("c", "d")]),
    ],
)
def test_days_go_into_runs_of_so_many_rows(rows: dict[str, int], runs: list[tuple[str, ...]]) -> None:
    assert partitions.chunks(rows, limit=5) == runs


# ---- hours, weeks, months ------------------------------------------------------------------------

keys = st.one_of(
    st.tuples(st.just(period), st.datetimes(datetime(1970, 1, 1), datetime(2060, 1, 1))) for period in Period
).map(lambda drawn: partitions.key_of(drawn[1], drawn[0]))


@given(keys, st.integers(-5000, 5000), st.sampled_from([NEW_YORK, "America/Sao_Paulo", "Asia/Kolkata", "UTC"]))
def test_keys_of_every_period_are_counted_sorted_and_found_again(key: str, count: int, zone: str) -> None:
    period, there = partitions.period_of(key), partitions.shift(key, count)
    assert partitions.between(key, there) == count
    assert (there > key) == (count > 0)
    begin, end = partitions.clock(key, zone), partitions.clock(partitions.shift(key, 1), zone)
    assert begin < end
    assert partitions.key_at(begin, zone, period) == key == partitions.key_at(end - timedelta(seconds=1), zone, period)
    assert partitions.check(key, period) == key


@pytest.mark.parametrize(
    ("key", "clock"),
    [
        ("2013-11-03T05Z", "2013-11-03 05:00"),
        ("2013-W45", "2013-11-04 05:00"),
        ("2013-W44", "2013-10-28 04:00"),
        ("2013-11", "2013-11-01 04:00"),
        ("2013-12", "2013-12-01 05:00"),
    ],
)
def test_weeks_and_months_begin_at_local_midnight_and_hours_are_those_of_utc(key: str, clock: str) -> None:
    assert partitions.clock(key, NEW_YORK) == datetime.fromisoformat(clock).replace(tzinfo=UTC)


def test_a_year_may_have_53_weeks() -> None:
    assert partitions.key_range("2020-W52", "2021-W01") == ("2020-W52", "2020-W53", "2021-W01")
    assert partitions.parse("2021-W01") == date(2021, 1, 4)
    with pytest.raises(UnknownPartition, match="'2021-W53' is not a week"):
        partitions.parse("2021-W53")


@pytest.mark.parametrize(
    ("key", "period", "said"),
    [
        ("2013-11-02", Period.WEEK, "is not a week; write it as 2013-W44"),
        ("2013-11-02T05", Period.HOUR, "is not an hour; write it as 2013-11-02T05Z"),
        ("2013-11-02T24Z", Period.HOUR, "is not an hour"),
        ("2013-11-02T05Z", Period.DAY, "is not a day; write it as 2013-11-02"),
        ("2013-13", Period.MONTH, "is not a month"),
        ("2013-W00", Period.WEEK, "is not a week"),
    ],
)
def test_a_key_of_another_period_is_refused(key: str, period: Period, said: str) -> None:
    with pytest.raises(UnknownPartition, match=said):
        partitions.check(key, period)


def test_a_range_has_one_kind_of_period() -> None:
    with pytest.raises(UnknownPartition, match="2013-W44 is a week and 2013-11-02 is a day"):
        _ = Span(first="2013-W44", last="2013-11-02").keys


def test_hours_are_resampled_by_the_day_and_longer_periods_whole() -> None:
    found = [partitions.block_of(period.example) for period in Period]
    assert found == [
        "2013-11-02",
        "2013-11-02",
        "2013-W44",
        "2013-11",
    ]
