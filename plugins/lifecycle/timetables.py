"""The schedules of partitioned DAGs: by the clock, or by the partition that another DAG published."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset
from airflow.timetables.simple import PartitionedAssetTimetable
from airflow.timetables.trigger import CronPartitionTimetable, CronTriggerTimetable

from lifecycle import airflow_private

if TYPE_CHECKING:
    from airflow.timetables.base import DagRunInfo
    from pendulum import DateTime

    from include.spec.use_case import UseCase

KEY_FORMAT = "%Y-%m-%d"


def by_clock(use_case: UseCase) -> CronPartitionTimetable:
    """Schedule one DAG run a partition, due when the partition begins in the use case's time zone."""
    return CronPartitionTimetable(use_case.cron, timezone=use_case.time_zone, key_format=KEY_FORMAT)


def by_partition_of(asset: Asset, use_case: UseCase) -> PartitionedAssets:
    """Schedule one DAG run for each partition published to ``asset``."""
    return PartitionedAssets(assets=asset, cron=use_case.cron, time_zone=use_case.time_zone)


def weekly(use_case: UseCase) -> CronTriggerTimetable:
    """Schedule Sunday mornings of the use case's time zone, after the night's partitions."""
    return CronTriggerTimetable("0 6 * * SUN", timezone=use_case.time_zone)


class PartitionedAssets(airflow_private.PartitionDates, PartitionedAssetTimetable):
    """A schedule that follows an asset's partitions, and can be backfilled over the partitions of a cron.

    Airflow's own partitioned asset timetable has no notion of which partitions exist between two
    dates, so ``airflow backfill create`` refuses it. This one asks a ``CronPartitionTimetable``.
    """

    periodic = True

    def __init__(self, *, assets: Any, cron: str, time_zone: str) -> None:
        super().__init__(assets=assets)
        self.cron = cron
        self.time_zone = time_zone
        self.calendar = CronPartitionTimetable(cron, timezone=time_zone, key_format=KEY_FORMAT)

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
