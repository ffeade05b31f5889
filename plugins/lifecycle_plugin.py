"""Registers what the ``lifecycle`` package adds to Airflow."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from lifecycle.timetables import PartitionedAssets


class LifecyclePlugin(AirflowPlugin):
    name = "lifecycle"
    timetables = [PartitionedAssets]  # noqa: RUF012 - Airflow's own declaration
