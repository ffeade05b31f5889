"""One DAG run a period, in zones whose clocks change at midnight."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pendulum
import pytest
from airflow.sdk import Asset
from airflow.serialization.decoders import decode_timetable
from airflow.serialization.encoders import encode_timetable
from airflow.timetables.base import TimeRestriction

from include.core import partitions
from include.core.partitions import Period
from include.spec.loading import load_use_case
from lifecycle import timetables
from tests.zones import changed_midnights

ZONES = [
    ("America/Sao_Paulo", "2013-10-20"),
    ("Asia/Beirut", "2024-03-31"),
    ("America/Santiago", "2024-09-08"),
    ("America/Havana", "2013-11-03"),
    ("Atlantic/Azores", "2024-10-27"),
    ("Africa/Cairo", "2024-04-26"),
    ("America/Asuncion", "2023-10-01"),
    ("America/St_Johns", "2006-10-29"),
    ("Asia/Kolkata", "2013-11-03"),
]


def both(zone: str) -> list[Any]:
    """Return the schedule by the clock and the one that follows an asset, as the scheduler reads them."""
    case = load_use_case("flights").model_copy(update={"time_zone": zone})
    made = [timetables.by_clock(case), timetables.by_partition_of(Asset("raw"), case)]
    return [decode_timetable(encode_timetable(one)) for one in made]


def utc(day: str, hours: int = 0) -> pendulum.DateTime:
    return pendulum.instance(datetime.fromisoformat(day).replace(tzinfo=UTC)) + timedelta(hours=hours)


@pytest.mark.parametrize(("zone", "odd"), ZONES)
def test_a_backfill_makes_one_run_a_period(zone: str, odd: str) -> None:
    """C07: a backfill that began the day before a midnight that does not exist left that day out."""
    days = [partitions.shift(odd, n) for n in range(-2, 4)]
    for timetable in both(zone):
        for first, last in itertools.combinations_with_replacement(days, 2):
            found = list(timetable.iter_partition_dagrun_infos(earliest=utc(first), latest=utc(last)))
            assert [info.partition_key for info in found] == list(partitions.key_range(first, last))
            for info in found:
                assert info.partition_date == info.run_after == partitions.clock(info.partition_key, zone)
                assert timetable.resolve_partition_date(info.partition_key) == info.partition_date
                # Airflow finds the runs of a span by these bounds
                assert timetable.localize_partition_datetime(utc(info.partition_key)) == info.partition_date


def test_a_window_within_a_day_holds_the_periods_that_begin_in_it() -> None:
    (timetable, _) = both("America/New_York")
    window = {"earliest": utc("2013-11-02", 1), "latest": utc("2013-11-03", 23)}
    assert [info.partition_key for info in timetable.iter_partition_dagrun_infos(**window)] == ["2013-11-03"]
    empty = {"earliest": utc("2013-11-02", 1), "latest": utc("2013-11-02", 23)}
    assert list(timetable.iter_partition_dagrun_infos(**empty)) == []
    assert list(timetable.iter_partition_dagrun_infos(earliest=utc("2013-11-03"), latest=utc("2013-11-01"))) == []


@pytest.mark.parametrize("catchup", [True, False])
@pytest.mark.parametrize(("zone", "odd"), ZONES)
def test_the_scheduler_makes_one_run_a_period(
    monkeypatch: pytest.MonkeyPatch, zone: str, odd: str, catchup: bool
) -> None:
    """C07: run by run, each when its period begins."""
    timetable = both(zone)[0]
    days = [partitions.shift(odd, n) for n in range(-2, 4)]
    start = pendulum.instance(partitions.clock(days[0], zone))
    last, made = None, []
    for key in days:
        now = pendulum.instance(partitions.clock(key, zone) + timedelta(hours=1))
        monkeypatch.setattr("airflow.timetables.trigger.utcnow", lambda now=now: now)
        allowed = TimeRestriction(earliest=start, latest=None, catchup=catchup)
        last = timetable.next_dagrun_info_v2(last_dagrun_info=last, restriction=allowed)
        assert last is not None
        made.append(last.partition_key)
        assert last.partition_date == last.run_after == partitions.clock(key, zone)
    assert made == days


def test_every_odd_midnight_of_every_zone_gets_its_run() -> None:
    """C07: all zones, all changes of their clocks in three years."""
    seen = 0
    made: dict[str, Any] = {}
    for zone, day in changed_midnights(2010, 2014):
        if date(2011, 12, 30) == day + timedelta(days=1) or date(2011, 12, 31) == day:
            continue  # Samoa and Tokelau left a day out
        timetable = made.setdefault(zone, timetables.ByClock.of(Period.DAY, zone))
        keys = [(day + timedelta(days=n)).isoformat() for n in (-1, 0, 1)]
        found = timetable.iter_partition_dagrun_infos(earliest=utc(keys[0]), latest=utc(keys[-1]))
        assert [info.partition_key for info in found] == keys
        tick = pendulum.instance(partitions.clock(keys[0], zone))
        for key in keys[1:]:
            tick = timetable.following(tick)
            assert tick == partitions.clock(key, zone)
        for key in reversed(keys[:-1]):
            tick = timetable.preceding(tick)
            assert tick == partitions.clock(key, zone)
        seen += 1
    assert seen > 100
