"""Partitions begin at local midnight, whatever summer time does, and a live use case goes on tonight."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pendulum
import pytest
from airflow.exceptions import InvalidPartitionKeyError
from airflow.serialization.decoders import decode_timetable
from airflow.serialization.encoders import encode_timetable
from airflow.timetables.base import DagRunInfo
from airflow.timetables.simple import PartitionedAssetTimetable
from airflow.utils.types import DagRunType

from include.core import partitions
from tests.dags.airflow_home import dagbag, scheduled
from tests.dags.test_dag_files import USE_CASES

NEW_YORK = "America/New_York"
Day = tuple[int, int, int]
PARTITIONED = [f"{case}_{stage}" for case in USE_CASES for stage in ("features", "monitor", "score")]


@pytest.fixture(params=[*PARTITIONED, "flights_ingest", "flights_live_ingest"])
def timetable(request: pytest.FixtureRequest) -> Any:
    return scheduled(request.param).timetable


def utc(year: int, month: int, day: int) -> pendulum.DateTime:
    return pendulum.datetime(year, month, day, tz="UTC")


def infos(timetable: Any, first: Day, last: Day) -> list[DagRunInfo]:
    return list(timetable.iter_partition_dagrun_infos(earliest=utc(*first), latest=utc(*last)))


# ---- every partitioned DAG ----------------------------------------------------------------------


def test_a_partitioned_dag_can_be_backfilled(timetable: Any) -> None:
    assert timetable.partitioned
    assert timetable.periodic


def test_a_backfill_gives_each_day_once_with_its_local_midnight(timetable: Any) -> None:
    found = infos(timetable, (2013, 11, 1), (2013, 11, 7))
    assert [info.partition_key for info in found] == list(partitions.key_range("2013-11-01", "2013-11-07"))
    assert [info.partition_date for info in found] == [
        partitions.clock(str(info.partition_key), NEW_YORK) for info in found
    ]


def test_a_day_can_be_backfilled_again(timetable: Any) -> None:
    """Each backfill makes runs of its own beside the ones before; their names must differ."""
    (day,) = infos(timetable, (2013, 11, 1), (2013, 11, 1))[:1]
    names = {
        timetable.generate_run_id(
            run_type=DagRunType.BACKFILL_JOB,
            run_after=day.run_after,
            data_interval=None,
            partition_key=day.partition_key,
        )
        for _ in range(3)
    }
    assert len(names) == 3
    assert all(name.startswith("backfill__") and "2013-11-01" in name for name in names)


@pytest.mark.parametrize(
    ("first", "last", "hours"),
    [((2013, 3, 9), (2013, 3, 12), [24, 23, 24]), ((2013, 11, 2), (2013, 11, 5), [24, 25, 24])],
)
def test_days_are_as_long_as_they_were(timetable: Any, first: Day, last: Day, hours: list[int]) -> None:
    dates = [info.partition_date for info in infos(timetable, first, last)]
    assert [(b - a).total_seconds() / 3600 for a, b in pairwise(dates) if a and b] == hours
    assert [date.in_timezone(NEW_YORK).hour for date in dates if date] == [0, 0, 0, 0]


def test_a_key_is_decoded_to_its_clock(timetable: Any) -> None:
    for key in ("2013-03-10", "2013-11-03", "2013-11-04"):
        assert timetable.resolve_partition_date(key) == partitions.clock(key, NEW_YORK)
    assert timetable.resolve_partition_date(None) is None


@pytest.mark.parametrize(
    "key",
    ["tomorrow", "20131102", "2013-02-30", "2013-11-02T00:00:00", "2013-11-02; DROP TABLE x", "../etc", "{{ ds }}"],
)
def test_a_malformed_key_is_refused_before_there_is_a_run(timetable: Any, key: str) -> None:
    with pytest.raises(InvalidPartitionKeyError):
        timetable.resolve_partition_date(key)


# ---- those that follow an asset -----------------------------------------------------------------


@pytest.mark.parametrize("dag_id", PARTITIONED)
def test_the_plugin_timetable_survives_serialization(dag_id: str) -> None:
    written = encode_timetable(dagbag().dags[dag_id].timetable)
    read: Any = decode_timetable(written)
    assert type(read).__name__ == "PartitionedAssets"
    assert PartitionedAssetTimetable in type(read).__mro__
    assert encode_timetable(read) == written
    assert (read.time_zone, read.summary) == (NEW_YORK, "Partitioned asset, backfillable")


def test_the_key_of_the_asset_is_the_key_of_the_run() -> None:
    mapper = scheduled("flights_score").timetable.get_partition_mapper(name="flights.features")
    assert mapper.to_downstream("2013-11-02") == "2013-11-02"


# ---- the clock ----------------------------------------------------------------------------------


def next_run(monkeypatch: pytest.MonkeyPatch, dag_id: str, now: datetime, last: DagRunInfo | None) -> DagRunInfo | None:
    """Return the DAG run that the scheduler would create next if it were ``now``."""
    dag = scheduled(dag_id)
    monkeypatch.setattr("airflow.timetables.trigger.utcnow", lambda: pendulum.instance(now))
    found: DagRunInfo | None = dag.next_dagrun_info(last_automated_run_info=last)
    return found


@pytest.mark.parametrize(
    ("now", "tonight", "clock"),
    [
        ("2026-11-20T18:00:00", "2026-11-21", "2026-11-21T05:00:00"),
        # the nights in which summer time begins and ends
        ("2027-03-14T12:00:00", "2027-03-15", "2027-03-15T04:00:00"),
        ("2027-11-07T12:00:00", "2027-11-08", "2027-11-08T05:00:00"),
        ("2031-12-31T23:00:00", "2032-01-01", "2032-01-01T05:00:00"),
    ],
)
def test_tonights_midnight_makes_a_scheduled_run(
    monkeypatch: pytest.MonkeyPatch, now: str, tonight: str, clock: str
) -> None:
    instant = datetime.fromisoformat(now).replace(tzinfo=UTC)
    today = next_run(monkeypatch, "flights_live_ingest", instant, None)
    assert today is not None
    # unpaused now: the day that has begun is due at once, and no day of the past is caught up
    assert today.partition_key == partitions.shift(tonight, -1)
    assert today.run_after <= instant
    following = next_run(monkeypatch, "flights_live_ingest", instant, today)
    assert following is not None
    assert following.partition_key == tonight
    due = datetime.fromisoformat(clock).replace(tzinfo=UTC)
    assert (following.run_after, following.partition_date) == (due, due)


def test_a_year_that_is_over_schedules_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert next_run(monkeypatch, "flights_ingest", datetime(2026, 11, 20, 18, tzinfo=UTC), None) is None


def test_in_2013_it_would_have_run_every_night_up_to_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    eve = datetime(2013, 12, 30, 12, tzinfo=UTC)
    last = next_run(monkeypatch, "flights_ingest", eve, next_run(monkeypatch, "flights_ingest", eve, None))
    assert last is not None
    assert last.partition_key == "2013-12-31"
    assert next_run(monkeypatch, "flights_ingest", eve + timedelta(days=2), last) is None


def test_maintenance_is_due_on_sunday_mornings_while_the_history_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime(2027, 3, 10, tzinfo=UTC)
    last = next_run(monkeypatch, "flights_live_maintenance", now, None)
    assert last is not None
    following = next_run(monkeypatch, "flights_live_maintenance", now, last)
    assert following is not None
    # summer time begins on the second of the two: six in the morning stays six in the morning
    due = [pendulum.datetime(2027, 3, day, 6, tz=NEW_YORK) for day in (7, 14)]
    assert [last.run_after, following.run_after] == due
    assert next_run(monkeypatch, "flights_maintenance", now, None) is None
