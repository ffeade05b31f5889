"""Tests of the explanation of a failed DAG run: it names the first failed task, its log and its page."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from include.stack.api import AirflowApi
from include.stack.failures import explain_failure
from include.stack.layout import Layout

RUN = {"dag_id": "flights_train", "dag_run_id": "manual__1", "partition_key": "2013-11-02"}


class _Api:
    """Answers with given task instances and a log of thirty lines."""

    def __init__(self, *tasks: dict[str, Any]) -> None:
        self.tasks = tasks

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        return list(self.tasks)

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int, map_index: int) -> list[str]:
        return ["::group::Log message source details", *(f"{task_id} line {number}" for number in range(30))]


def task(task_id: str, end: str, state: str = "failed", map_index: int = -1) -> dict[str, Any]:
    return {"task_id": task_id, "state": state, "end_date": end, "try_number": 2, "map_index": map_index}


def explained(home: Path, *tasks: dict[str, Any]) -> str:
    return explain_failure(cast("AirflowApi", _Api(*tasks)), Layout(home), RUN)


def test_the_task_that_failed_first_is_explained(tmp_path: Path) -> None:
    said = explained(
        tmp_path, task("register", "12:05"), task("search", "12:03", map_index=1), task("fit", "12:00", "success")
    )
    assert said.startswith(
        "task search of flights_train for 2013-11-02 failed at try 2; the end of its log:\nsearch line 10\n"
    )
    folder = (
        tmp_path / "logs" / "tasks" / "dag_id=flights_train" / "run_id=manual__1" / "task_id=search" / "map_index=1"
    )
    assert f"all of it: {folder}/attempt=2.log\n" in said
    assert said.endswith("in the UI: http://127.0.0.1:8080/dags/flights_train/runs/manual__1/tasks/search")


def test_a_task_without_map_index_has_its_log_in_its_own_folder(tmp_path: Path) -> None:
    assert "task_id=fit/attempt=2.log\n" in explained(tmp_path, task("fit", "12:00"))


def test_a_run_without_a_failed_task_is_explained_by_its_page(tmp_path: Path) -> None:
    said = explained(tmp_path, task("fit", "12:00", "success"))
    assert (
        said
        == "flights_train manual__1 failed without a failed task; see http://127.0.0.1:8080/dags/flights_train/runs/manual__1"
    )
