"""Schedules and backfills of hours, weeks and months: one DAG run a period, at its clock."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pendulum
import pytest
from airflow.exceptions import InvalidPartitionKeyError
from airflow.sdk import Asset
from airflow.serialization.decoders import decode_timetable
from airflow.serialization.encoders import encode_timetable

from include.core import partitions
from include.core.partitions import Period
from lifecycle.timetables import ByClock, PartitionedAssets

NEW_YORK = "America/New_York"
# each range has a change of New York's clocks in it
RANGES = {
    Period.HOUR: ("2013-11-02T20Z", "2013-11-04T02Z"),
    Period.DAY: ("2013-10-30", "2013-11-06"),
    Period.WEEK: ("2013-W40", "2014-W14"),
    Period.MONTH: ("2013-01", "2014-05"),
}


@pytest.fixture(params=list(Period))
def period(request: pytest.FixtureRequest) -> Period:
    chosen: Period = request.param
    return chosen


def again(timetable: Any) -> Any:
    """Return the timetable as the scheduler reads it from the database."""
    return decode_timetable(encode_timetable(timetable))


@pytest.fixture(params=["by clock", "by asset"])
def timetable(request: pytest.FixtureRequest, period: Period) -> Any:
    if request.param == "by clock":
        return again(ByClock.of(period, NEW_YORK))
    return again(PartitionedAssets(assets=Asset("rows"), period=period, time_zone=NEW_YORK))


def test_a_backfill_has_one_run_a_period_at_its_clock(timetable: Any, period: Period) -> None:
    first, last = RANGES[period]
    earliest, latest = (pendulum.instance(partitions.begin(key), tz="UTC") for key in (first, last))
    found = list(timetable.iter_partition_dagrun_infos(earliest=earliest, latest=latest))
    assert [info.partition_key for info in found] == list(partitions.key_range(first, last))
    assert [info.run_after for info in found] == [partitions.clock(str(info.partition_key), NEW_YORK) for info in found]


def test_a_backfill_takes_the_periods_that_begin_in_it(period: Period) -> None:
    """Of a range that begins and ends within periods the first is left out and the last one taken."""
    first, last = RANGES[period]
    begin = pendulum.instance(partitions.begin(first), tz="UTC").add(minutes=1)
    end = pendulum.instance(partitions.begin(last), tz="UTC").add(minutes=1)
    infos = ByClock.of(period, NEW_YORK).iter_partition_dagrun_infos(earliest=begin, latest=end)
    assert [info.partition_key for info in infos] == list(partitions.key_range(partitions.shift(first, 1), last))


def test_ticks_follow_each_other_as_the_clocks_do(period: Period) -> None:
    ours = again(ByClock.of(period, NEW_YORK))
    keys = partitions.key_range(*RANGES[period])
    clocks = [partitions.clock(key, NEW_YORK) for key in keys]
    assert [ours.following(clock) for clock in clocks[:-1]] == clocks[1:]
    assert [ours.preceding(clock) for clock in clocks[1:]] == clocks[:-1]
    assert [ours.key_of(pendulum.instance(clock)) for clock in clocks] == list(keys)


def test_a_key_of_another_period_has_no_date(timetable: Any, period: Period) -> None:
    for other in Period:
        if other is period:
            assert timetable.resolve_partition_date(other.example) == partitions.clock(other.example, NEW_YORK)
        else:
            with pytest.raises(InvalidPartitionKeyError, match=f"not an? {period}"):
                timetable.resolve_partition_date(other.example)


def test_a_schedule_from_before_there_were_periods_is_one_of_days() -> None:
    schedule = PartitionedAssets(assets=Asset("rows"), period=Period.DAY, time_zone=NEW_YORK)
    written = {name: value for name, value in schedule.serialize().items() if name != "period"}
    read = PartitionedAssets.deserialize({**written, "cron": "0 0 * * *"})
    assert read.period is Period.DAY
    assert read.resolve_partition_date("2013-11-02") == datetime.fromisoformat("2013-11-02T04:00:00+00:00")
