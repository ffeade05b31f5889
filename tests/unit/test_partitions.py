"""Partition keys are local days; their clocks follow summer time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.core import partitions
from include.core.errors import UnknownPartition

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
    assert partitions.key_at(clock, "America/Sao_Paulo") == "2013-10-20"
    assert partitions.key_at(clock - timedelta(microseconds=1), "America/Sao_Paulo") == "2013-10-19"


@given(st.dates(min_value=datetime(1990, 1, 2).date(), max_value=datetime(2035, 12, 30).date()))
def test_the_clock_is_the_first_instant_of_its_day(day: object) -> None:
    key = str(day)
    clock = partitions.clock(key, NEW_YORK)
    assert partitions.key_at(clock, NEW_YORK) == key
    assert partitions.key_at(clock - timedelta(microseconds=1), NEW_YORK) == partitions.shift(key, -1)


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
        partitions.key_at(datetime(2013, 11, 2), NEW_YORK)


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
