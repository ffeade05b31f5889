"""What every DAG file and every DAG must be: loaded, listed, owned, explained, and prose."""

from __future__ import annotations

import ast
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from include.spec.loading import load_use_cases
from tests.dags.airflow_home import DAGS, dagbag

STEPS = ("bootstrap", "features", "ingest", "maintenance", "monitor", "promote", "reprocess", "score", "train")
PAUSED = {case.name: case.paused for case in load_use_cases()}
USE_CASES = tuple(PAUSED)
ONE_AT_A_TIME = ("bootstrap", "maintenance", "promote", "reprocess", "train")
IDS = sorted(f"{use_case}_{step}" for use_case in USE_CASES for step in STEPS)
FILES = sorted(DAGS.glob("*.py"))


@pytest.fixture(params=IDS)
def dag(request: pytest.FixtureRequest) -> DAG:
    found: DAG = dagbag().dags[request.param]
    return found


def test_the_shipped_use_cases_are_there_and_the_live_one_is_paused() -> None:
    """Else the lists of this file, which the specs give, could be empty."""
    assert set(USE_CASES) >= {"flights", "flights_live"}
    assert {name for name, paused in PAUSED.items() if paused} >= {"flights_live"}
    assert PAUSED["flights"] is False


def test_every_file_loads() -> None:
    assert dagbag().import_errors == {}


def test_the_dags_are_exactly_these() -> None:
    assert sorted(dagbag().dags) == IDS, (
        "a DAG appeared or went: add its step to the list at the top of this file and to dags/README.md"
    )


def test_the_readme_names_every_step() -> None:
    text = (DAGS / "README.md").read_text(encoding="utf-8")
    assert [step for step in STEPS if f"[{step}.py]({step}.py)" not in text] == []


# ---- policy -------------------------------------------------------------------------------------


def test_a_dag_says_what_it_is_for(dag: DAG) -> None:
    assert dag.doc_md
    assert len(dag.doc_md) > 100
    assert dag.description == dag.doc_md.splitlines()[0]
    assert dag.description.endswith(".")
    assert len(dag.description) <= 120


def test_a_dag_has_an_owner_and_the_tags_of_its_use_case_and_step(dag: DAG) -> None:
    use_case = next(case for case in load_use_cases() if dag.dag_id.removeprefix(f"{case.name}_") in STEPS)
    assert {use_case.name, dag.dag_id.removeprefix(f"{use_case.name}_"), *use_case.tags} == set(dag.tags)
    assert {task.owner for task in dag.tasks} == {use_case.owner}


def test_a_task_is_retried_but_not_for_what_will_not_change(dag: DAG) -> None:
    for task in dag.tasks:
        assert task.retries == 2
        assert task.retry_delay == timedelta(seconds=5)
        assert task.has_retry_policy


def test_what_must_not_overlap_runs_one_at_a_time(dag: DAG) -> None:
    alone = dag.dag_id.rsplit("_", 1)[1] in ONE_AT_A_TIME
    assert (dag.max_active_runs == 1) is alone


def test_nothing_is_caught_up_by_itself(dag: DAG) -> None:
    assert dag.catchup is False
    assert dag.is_paused_upon_creation is PAUSED[dag.dag_id.rpartition("_")[0]]


def test_a_task_names_its_use_case(dag: DAG) -> None:
    # a task of Airflow's own has none, a mapped one keeps it among its arguments
    named = [
        getattr(task, "use_case", None) or getattr(task, "partial_kwargs", {}).get("use_case") for task in dag.tasks
    ]
    assert set(filter(None, named)) == {dag.dag_id.rsplit("_", 1)[0]}


def test_search_workers_share_the_gpu_pool() -> None:
    for use_case in load_use_cases():
        search: Any = dagbag().dags[f"{use_case.name}_train"].get_task("search")
        assert search.is_mapped
        assert search.pool == "gpu"
        assert search.expand_input.value == {"worker": list(range(use_case.training.workers))}


# ---- prose --------------------------------------------------------------------------------------


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def file(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def test_a_dag_file_is_a_page_of_prose(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 60, f"{file.name} has {len(lines)} lines: move what happens into an operator"
    assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))


def test_a_dag_file_does_not_know_use_cases_by_name(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert not words & set(USE_CASES), f"{file.name}: a case that differs gets its own values, or its own DAG file"
    if file.name != "use_case_specs.py":
        branches = [node for node in ast.walk(tree) if isinstance(node, ast.If | ast.IfExp | ast.Match)]
        assert not branches, f"{file.name}:{branches[0].lineno}: values vary, steps do not"


def test_the_runs_of_a_chain_are_joined_by_assets() -> None:
    """Each step follows the asset of the step before it."""
    for case in USE_CASES:
        bag = dagbag().dags
        follows = {
            "features": "raw", "score": "features", "monitor": "predictions",
            "promote": "challenger",
        }  # fmt: skip
        for step, asset in follows.items():
            condition = bag[f"{case}_{step}"].timetable.asset_condition
            found = getattr(condition, "objects", [condition])
            assert [one.uri for one in found] == [f"lifecycle://{case}/{asset}"]
        outlets = {step: [o.name for task in bag[f"{case}_{step}"].tasks for o in task.outlets] for step in STEPS}
        assert outlets == {
            "ingest": [f"{case}.raw"], "features": [f"{case}.features"], "score": [f"{case}.predictions"],
            "train": [f"{case}.challenger"],
            "bootstrap": [], "maintenance": [], "monitor": [], "promote": [], "reprocess": [],
        }  # fmt: skip


def test_the_monitor_triggers_the_training_of_its_own_use_case() -> None:
    for case in USE_CASES:
        bag = dagbag().dags
        assert bag[f"{case}_monitor"].get_task("request_training").training_dag == f"{case}_train"
        assert f"{case}_train" in bag
