"""The schedules of partitioned DAGs: by the clock, or by the partition that another DAG published."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pendulum
from airflow.exceptions import InvalidPartitionKeyError
from airflow.sdk import Asset
from airflow.timetables.base import DagRunInfo
from airflow.timetables.simple import PartitionedAssetTimetable
from airflow.timetables.trigger import CronPartitionTimetable, CronTriggerTimetable

from include.core import partitions
from include.core.errors import UnknownPartition
from lifecycle import airflow_private

if TYPE_CHECKING:
    from pendulum import DateTime

    from include.spec.use_case import UseCase

KEY_FORMAT = "%Y-%m-%d"


def by_clock(use_case: UseCase) -> ByClock:
    """Schedule one DAG run a partition, due when the partition begins in the use case's time zone."""
    return ByClock(use_case.cron, timezone=use_case.time_zone, key_format=KEY_FORMAT)


def by_partition_of(asset: Asset, use_case: UseCase) -> PartitionedAssets:
    """Schedule one DAG run for each partition published to ``asset``."""
    return PartitionedAssets(assets=asset, cron=use_case.cron, time_zone=use_case.time_zone)


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

    def iter_partition_dagrun_infos(self, *, earliest: datetime, latest: datetime) -> Iterable[DagRunInfo]:
        """Yield the partitions that begin between the wall-clock readings of two dates, for a backfill."""
        first = earliest.date() + timedelta(days=earliest.time() > time())
        for day in range((latest.date() - first).days + 1):
            key = (first + timedelta(days=day)).isoformat()
            tick = self.tick_of(key)
            yield DagRunInfo(run_after=tick, data_interval=None, partition_date=tick, partition_key=key)

    def localize_partition_datetime(self, dt: datetime) -> DateTime:
        """Return the instant at which local clocks show what ``dt`` shows; of a day's beginning its clock."""
        if dt.time() == time():
            return self.tick_of(dt.date().isoformat())
        return super().localize_partition_datetime(dt)

    def following(self, instant: datetime) -> DateTime:
        """Return the first clock after ``instant``."""
        return self.tick_of(partitions.shift(self.key_of(instant), 1))

    def preceding(self, instant: datetime) -> DateTime:
        """Return the last clock before ``instant``."""
        return self.tick_of(self.key_of(instant - timedelta(microseconds=1)))

    def key_of(self, tick: datetime) -> str:
        """Return the key of the partition that a tick lies in."""
        return partitions.key_at(tick, self.time_zone)

    def tick_of(self, key: str) -> DateTime:
        """Return the clock of a partition key.

        Raises:
            InvalidPartitionKeyError: the key is malformed.
        """
        try:
            return pendulum.instance(partitions.clock(key, self.time_zone), tz="UTC")
        except UnknownPartition as error:
            raise InvalidPartitionKeyError(str(error)) from error


class PartitionedAssets(airflow_private.PartitionDates, PartitionedAssetTimetable):
    """A schedule that follows an asset's partitions, and can be backfilled over the partitions of a cron.

    Airflow's own partitioned asset timetable has no notion of which partitions exist between two
    dates, so ``airflow backfill create`` refuses it. This one asks the clock's schedule.
    """

    periodic = True

    def __init__(self, *, assets: Any, cron: str, time_zone: str) -> None:
        super().__init__(assets=assets)
        self.cron = cron
        self.time_zone = time_zone
        self.calendar = ByClock(cron, timezone=time_zone, key_format=KEY_FORMAT)

    @property
    def summary(self) -> str:
        """Return the schedule as Airflow's UI shows it."""
        return "Partitioned asset, backfillable"

    def iter_partition_dagrun_infos(self, *, earliest: datetime, latest: datetime) -> Iterable[DagRunInfo]:
        """Yield the partitions between two dates, for a backfill."""
        return self.calendar.iter_partition_dagrun_infos(earliest=earliest, latest=latest)

    def localize_partition_datetime(self, dt: datetime) -> DateTime:
        """Return ``dt`` in the cron's time zone."""
        return self.calendar.localize_partition_datetime(dt)

    def generate_run_id(self, **run: Any) -> str:
        """Return a new id each time: the base class repeats it, and a second backfill of the same day would fail."""
        return self.calendar.generate_run_id(**run)

    def serialize(self) -> dict[str, Any]:
        """Return the schedule as the JSON of a serialized DAG."""
        return {
            "assets": airflow_private.encode_asset(self.asset_condition),
            "cron": self.cron,
            "time_zone": self.time_zone,
        }

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> PartitionedAssets:
        """Return the schedule that :meth:`serialize` made JSON of."""
        return cls(assets=airflow_private.decode_asset(data["assets"]), cron=data["cron"], time_zone=data["time_zone"])
