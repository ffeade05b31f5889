"""Airflow's private names behave as ``lifecycle.airflow_private`` uses them."""

from __future__ import annotations

from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Asset, BaseOperator
from airflow.sdk.execution_time import task_runner, xcom
from airflow.timetables.base import Timetable
from airflow.timetables.trigger import CronPartitionTimetable

from include.core.partitions import Period
from lifecycle import airflow_private
from lifecycle.timetables import ByClock, PartitionedAssets

ASSET = Asset(name="flights.raw", uri="lifecycle://flights/raw", group="flights")


def test_the_installed_version_is_the_one_that_was_checked() -> None:
    installed = {name: version(name) for name in airflow_private.CHECKED_AGAINST}
    assert installed == airflow_private.CHECKED_AGAINST, (
        "Airflow has changed: read in its sources each function that plugins/lifecycle/airflow_private.py calls, run "
        "this file and tests/e2e, look whether a public name can replace a private one, then write the new version "
        "into CHECKED_AGAINST"
    )


class Inner(BaseOperator):
    def execute(self, context: Any) -> str:
        return "done"


def test_an_operator_may_be_executed_inside_another_one_only_when_the_guard_is_told() -> None:
    inner = Inner(task_id="inner")
    with airflow_private.executing(inner):
        assert inner.execute({}) == "done"
    with pytest.raises(RuntimeError, match="outside of the Task Runner"):
        Inner(task_id="alone", allow_nested_operators=False).execute({})


def test_dag_runs_are_counted_by_their_states(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def send(message: Any) -> Any:
        asked.append((message.type, message.dag_id, message.states))
        return task_runner.DRCount(count=2)

    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", SimpleNamespace(send=send), raising=False)
    assert airflow_private.count_dag_runs("flights_ingest", ["queued", "running"]) == 2
    assert asked == [("GetDRCount", "flights_ingest", ["queued", "running"])]


def test_an_xcom_is_read_by_key_and_task_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def get_one(**of: Any) -> str:
        asked.append((of["key"], of["dag_id"], of["task_id"], of["run_id"], of["map_index"]))
        return "http://mlflow.example"

    monkeypatch.setattr(xcom.XCom, "get_one", get_one)
    key = SimpleNamespace(dag_id="flights_train", task_id="search", run_id="manual__1", map_index=0)
    assert airflow_private.read_xcom("_link_mlflow_run", key) == "http://mlflow.example"
    assert asked == [("_link_mlflow_run", "flights_train", "search", "manual__1", 0)]


def test_the_address_of_a_dag_run_names_it() -> None:
    address = airflow_private.dag_run_address("flights_train", "requested__2013-11-03")
    assert address.endswith("/dags/flights_train/runs/requested__2013-11-03")


def test_an_asset_survives_serialization() -> None:
    schedule = PartitionedAssets(assets=ASSET, period=Period.DAY, time_zone="America/New_York")
    again = airflow_private.decode_asset(airflow_private.encode_asset(schedule.asset_condition))
    assert (again.name, again.uri, again.group) == (ASSET.name, ASSET.uri, ASSET.group)


def test_airflow_asks_for_the_date_of_a_partition_by_the_private_method() -> None:
    schedule = PartitionedAssets(assets=ASSET, period=Period.DAY, time_zone="America/New_York")
    calendar = CronPartitionTimetable("0 0 * * *", timezone="America/New_York", key_format="%Y-%m-%d")
    found = Timetable.resolve_partition_date(schedule, "2013-11-02")
    assert found is not None
    assert found == calendar.resolve_partition_date("2013-11-02")


def test_a_cron_timetable_finds_its_ticks_by_the_private_methods() -> None:
    ours = ByClock.of(Period.DAY, "America/New_York")
    airflows = CronPartitionTimetable("0 0 * * *", timezone="America/New_York", key_format="%Y-%m-%d")
    overridden = [name for name in vars(airflow_private.Ticks) if name.startswith("_") and not name.startswith("__")]
    assert len(overridden) == 4
    assert all(getattr(CronPartitionTimetable, name) for name in overridden)
    for instant in (ours.tick_of("2013-11-03"), ours.tick_of("2013-11-03").add(hours=1)):
        for name in ("_get_next", "_get_prev", "_align_to_next", "_align_to_prev", "_format_key"):
            assert getattr(ours, name)(instant) == getattr(airflows, name)(instant)
