"""Schedules of partitioned DAGs: by the clock, or by the partition that another DAG published."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset
from airflow.timetables.simple import PartitionedAssetTimetable
from airflow.timetables.trigger import CronPartitionTimetable, CronTriggerTimetable

if TYPE_CHECKING:
    from airflow.timetables.base import DagRunInfo
    from pendulum import DateTime

    from include.spec.use_case import UseCase

KEY_FORMAT = "%Y-%m-%d"


def by_clock(use_case: UseCase) -> CronPartitionTimetable:
    """One run a partition, due when the partition begins in the use case's time zone."""
    return CronPartitionTimetable(use_case.cron, timezone=use_case.time_zone, key_format=KEY_FORMAT)


def by_partition_of(asset: Asset, use_case: UseCase) -> PartitionedAssets:
    """One run for each partition published to ``asset``."""
    return PartitionedAssets(assets=asset, cron=use_case.cron, time_zone=use_case.time_zone)


def weekly(use_case: UseCase) -> CronTriggerTimetable:
    """Sunday mornings of the use case's time zone, when the night's partitions are done."""
    return CronTriggerTimetable("0 6 * * SUN", timezone=use_case.time_zone)


class PartitionedAssets(PartitionedAssetTimetable):
    """Runs follow an asset's partitions, and can also be backfilled over the partitions of a cron.

    Airflow's own partitioned asset timetable has no notion of which partitions exist between two
    dates, so ``airflow backfill create`` refuses it. This one asks a ``CronPartitionTimetable``.
    """

    periodic = True

    def __init__(self, *, assets: Any, cron: str, time_zone: str) -> None:
        super().__init__(assets=assets)
        self.cron = cron
        self.time_zone = time_zone
        self._calendar = CronPartitionTimetable(cron, timezone=time_zone, key_format=KEY_FORMAT)

    @property
    def summary(self) -> str:
        return "Partitioned asset, backfillable"

    def iter_partition_dagrun_infos(self, *, earliest: datetime, latest: datetime) -> Iterable[DagRunInfo]:
        return self._calendar.iter_partition_dagrun_infos(earliest=earliest, latest=latest)

    def localize_partition_datetime(self, dt: datetime) -> DateTime:
        return self._calendar.localize_partition_datetime(dt)

    def generate_run_id(self, **run: Any) -> str:
        """A new name each time: the parent's would repeat for a second backfill of the same day, which then fails."""
        return self._calendar.generate_run_id(**run)

    def _decode_partition_date(self, partition_key: str) -> datetime | None:
        return self._calendar.resolve_partition_date(partition_key)

    def serialize(self) -> dict[str, Any]:
        from airflow.serialization.encoders import encode_asset_like

        return {
            "assets": encode_asset_like(self.asset_condition),
            "cron": self.cron,
            "time_zone": self.time_zone,
        }

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> PartitionedAssets:
        from airflow.serialization.decoders import decode_asset_like

        return cls(assets=decode_asset_like(data["assets"]), cron=data["cron"], time_zone=data["time_zone"])
