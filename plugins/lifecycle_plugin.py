"""Register the additions of the ``lifecycle`` package with Airflow."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from lifecycle.page_guard import guard
from lifecycle.timetables import ByClock, PartitionedAssets


class LifecyclePlugin(AirflowPlugin):
    """The plugin that Airflow loads."""

    name = "lifecycle"
    timetables = [ByClock, PartitionedAssets]  # noqa: RUF012 - Airflow's own declaration
    fastapi_root_middlewares = [{"name": "guard", "middleware": guard}]  # noqa: RUF012 - as above
