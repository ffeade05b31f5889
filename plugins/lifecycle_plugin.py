"""Registers what the ``lifecycle`` package adds to Airflow."""

from __future__ import annotations

from typing import ClassVar

from airflow.plugins_manager import AirflowPlugin

from lifecycle.timetables import PartitionedAssets


class LifecyclePlugin(AirflowPlugin):
    name = "lifecycle"
    timetables: ClassVar = [PartitionedAssets]
