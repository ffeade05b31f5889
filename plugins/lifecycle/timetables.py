"""The schedules of partitioned DAGs: by the clock, or by the partition that another DAG published."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pendulum
from airflow.exceptions import InvalidPartitionKeyError
from airflow.sdk import Asset
from airflow.timetables.base import DagRunInfo
from airflow.timetables.simple import PartitionedAssetTimetable
from airflow.timetables.trigger import CronPartitionTimetable, CronTriggerTimetable

from include.core import partitions
from include.core.errors import UnknownPartition
from include.core.partitions import Period
from lifecycle import airflow_private

if TYPE_CHECKING:
    from pendulum import DateTime

    from include.spec.use_case import UseCase

# Airflow wants a cron and a format of keys beside the ticks that the periods give; its UI shows the cron
_CRONS = {Period.HOUR: "0 * * * *", Period.DAY: "0 0 * * *", Period.WEEK: "0 0 * * MON", Period.MONTH: "0 0 1 * *"}
_KEY_FORMATS = {Period.HOUR: "%Y-%m-%dT%HZ", Period.DAY: "%Y-%m-%d", Period.WEEK: "%G-W%V", Period.MONTH: "%Y-%m"}


def by_clock(use_case: UseCase) -> ByClock:
    """Schedule one DAG run a partition, due when the partition begins."""
    return ByClock.of(use_case.period, use_case.time_zone)


def by_partition_of(asset: Asset, use_case: UseCase) -> PartitionedAssets:
    """Schedule one DAG run for each partition published to ``asset``."""
    return PartitionedAssets(assets=asset, period=use_case.period, time_zone=use_case.time_zone)


def weekly(use_case: UseCase) -> CronTriggerTimetable:
    """Schedule Sunday mornings of the use case's time zone, after the night's partitions."""
    return CronTriggerTimetable("0 6 * * SUN", timezone=use_case.time_zone)


class ByClock(airflow_private.Ticks, CronPartitionTimetable):
    """A schedule with one tick a partition: its clock.

    Airflow's own looks for ticks on the local wall clock. It leaves out the day after a midnight that does not exist
    when a backfill begins there, and takes the second of two midnights.
    """

    def __init__(self, cron: str, *, timezone: Any, **options: Any) -> None:
        super().__init__(cron, timezone=timezone, **options)
        self.time_zone = timezone if isinstance(timezone, str) else str(timezone.name)
        # Airflow makes a serialized schedule again from the arguments of its own class
        self.period = next(period for period, its_cron in _CRONS.items() if its_cron == cron)

    @classmethod
    def of(cls, period: Period, time_zone: str) -> ByClock:
        """Return the schedule of one kind of period. Hours are those of UTC, whatever the use case's time zone."""
        zone = "UTC" if period is Period.HOUR else time_zone
        return cls(_CRONS[period], timezone=zone, key_format=_KEY_FORMATS[period])

    def iter_partition_dagrun_infos(self, *, earliest: datetime, latest: datetime) -> Iterable[DagRunInfo]:
        """Yield the partitions that begin between the wall-clock readings of two dates, for a backfill."""
        earliest, latest = earliest.replace(tzinfo=None), latest.replace(tzinfo=None)
        key = partitions.key_of(earliest, self.period)
        if partitions.begin(key) < earliest:
            key = partitions.shift(key, 1)
        while partitions.begin(key) <= latest:
            tick = self.tick_of(key)
            yield DagRunInfo(run_after=tick, data_interval=None, partition_date=tick, partition_key=key)
            key = partitions.shift(key, 1)

    def localize_partition_datetime(self, dt: datetime) -> DateTime:
        """Return the instant at which local clocks show what ``dt`` shows; of a period's beginning its clock."""
        key = partitions.key_of(dt, self.period)
        if partitions.begin(key) == dt.replace(tzinfo=None):
            return self.tick_of(key)
        return super().localize_partition_datetime(dt)

    def following(self, instant: datetime) -> DateTime:
        """Return the first clock after ``instant``."""
        return self.tick_of(partitions.shift(self.key_of(instant), 1))

    def preceding(self, instant: datetime) -> DateTime:
        """Return the last clock before ``instant``."""
        return self.tick_of(self.key_of(instant - timedelta(microseconds=1)))

    def key_of(self, tick: datetime) -> str:
        """Return the key of the partition that a tick lies in."""
        return partitions.key_at(tick, self.time_zone, self.period)

    def tick_of(self, key: str) -> DateTime:
        """Return the clock of a partition key.

        Raises:
            InvalidPartitionKeyError: the key is malformed.
        """
        try:
            return pendulum.instance(partitions.clock(partitions.check(key, self.period), self.time_zone), tz="UTC")
        except UnknownPartition as error:
            raise InvalidPartitionKeyError(str(error)) from error


class PartitionedAssets(airflow_private.PartitionDates, PartitionedAssetTimetable):
    """A schedule that follows an asset's partitions, and can be backfilled over the partitions between two dates.

    Airflow's own partitioned asset timetable has no notion of which partitions exist between two
    dates, so ``airflow backfill create`` refuses it. This one asks the clock's schedule.
    """

    periodic = True

    def __init__(self, *, assets: Any, period: Period, time_zone: str) -> None:
        super().__init__(assets=assets)
        self.period = period
        self.time_zone = time_zone
        self.calendar = ByClock.of(period, time_zone)

    @property
    def summary(self) -> str:
        """Return the schedule as Airflow's UI shows it."""
        return "Partitioned asset, backfillable"

    def iter_partition_dagrun_infos(self, *, earliest: datetime, latest: datetime) -> Iterable[DagRunInfo]:
        """Yield the partitions between two dates, for a backfill."""
        return self.calendar.iter_partition_dagrun_infos(earliest=earliest, latest=latest)

    def localize_partition_datetime(self, dt: datetime) -> DateTime:
        """Return ``dt`` in the time zone of the partitions."""
        return self.calendar.localize_partition_datetime(dt)

    def generate_run_id(self, **run: Any) -> str:
        """Return a new id each time: the base class repeats it, and a second backfill of the same day would fail."""
        return self.calendar.generate_run_id(**run)

    def serialize(self) -> dict[str, Any]:
        """Return the schedule as the JSON of a serialized DAG."""
        return {
            "assets": airflow_private.encode_asset(self.asset_condition),
            "period": self.period.value,
            "time_zone": self.time_zone,
        }

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> PartitionedAssets:
        """Return the schedule that :meth:`serialize` made JSON of."""
        # days, in what was serialized before there were other periods
        period = Period(data.get("period", Period.DAY))
        return cls(assets=airflow_private.decode_asset(data["assets"]), period=period, time_zone=data["time_zone"])
