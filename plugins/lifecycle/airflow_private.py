"""The names of Airflow that this project uses although they are not part of Airflow's public interface.

``tests/operators/test_airflow_private.py`` names the version that each was checked against. A new version of Airflow
fails that test first, and the test says what to check.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from airflow.sdk import BaseOperator
    from airflow.timetables.trigger import CronPartitionTimetable
    from pendulum import DateTime

CHECKED_AGAINST = {"apache-airflow-core": "3.3.2", "apache-airflow-task-sdk": "1.3.2"}


@contextmanager
def executing(operator: BaseOperator) -> Iterator[None]:
    """Tell the guard of the task runner that the running task executes ``operator``.

    The guard refuses an operator that is executed inside another one, which is how a provider's operator works for
    ours.
    """
    from airflow.sdk.bases.operator import ExecutorSafeguard

    before = ExecutorSafeguard.tracker.set(operator)
    try:
        yield
    finally:
        ExecutorSafeguard.tracker.reset(before)


def count_dag_runs(dag_id: str, states: list[str]) -> int:
    """Count the DAG runs of ``dag_id`` in one of ``states``; works in a task and in the triggerer."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    return RuntimeTaskInstance.get_dr_count(dag_id=dag_id, states=states)


def read_xcom(key: str, ti_key: Any) -> Any:
    """Read an XCom of the task instance that ``ti_key`` names; None when there is none."""
    from airflow.sdk.execution_time.xcom import XCom

    return XCom.get_value(key=key, ti_key=ti_key)


def dag_run_address(dag_id: str, run_id: str) -> str:
    """Return the address of a DAG run's page."""
    from airflow.utils.helpers import build_airflow_dagrun_url

    return build_airflow_dagrun_url(dag_id=dag_id, run_id=run_id)


def encode_asset(asset: Any) -> Any:
    """Return an asset condition as the JSON of a serialized DAG."""
    from airflow.serialization.encoders import encode_asset_like

    return encode_asset_like(asset)


def decode_asset(encoded: Any) -> Any:
    """Return the asset condition that :func:`encode_asset` made JSON of."""
    from airflow.serialization.decoders import decode_asset_like

    return decode_asset_like(encoded)


class PartitionDates:
    """Mixin that gives the run of a partition the date on which the calendar of a cron puts the partition.

    Airflow asks a timetable for the date by calling the private method ``_decode_partition_date``.
    """

    calendar: CronPartitionTimetable

    def _decode_partition_date(self, partition_key: str) -> datetime | None:
        return self.calendar.resolve_partition_date(partition_key)


class Ticks:
    """Mixin that gives a cron timetable the ticks of :meth:`following` and :meth:`preceding`.

    ``CronPartitionTimetable`` finds its ticks, and the key of a tick, by these private methods.
    """

    def following(self, instant: datetime) -> DateTime:
        """Return the first tick after ``instant``."""
        raise NotImplementedError

    def preceding(self, instant: datetime) -> DateTime:
        """Return the last tick before ``instant``."""
        raise NotImplementedError

    def key_of(self, tick: datetime) -> str:
        """Return the partition key of a tick."""
        raise NotImplementedError

    def tick_of(self, key: str) -> DateTime:
        """Return the tick of a partition key."""
        raise NotImplementedError

    def _get_next(self, current: datetime) -> DateTime:
        return self.following(current)

    def _get_prev(self, current: datetime) -> DateTime:
        return self.preceding(current)

    def _format_key(self, partition_date: datetime) -> str:
        return self.key_of(partition_date)

    def _decode_partition_date(self, partition_key: str) -> DateTime:
        return self.tick_of(partition_key)
