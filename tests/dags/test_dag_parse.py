"""Parsing, as the DAG processor does it, in fresh processes: quick, light, the same every time, fault by fault."""

from __future__ import annotations

import functools
import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest

from include.spec.loading import load_use_case
from include.spec.use_case import UseCase
from tests.dags.airflow_home import DAGS, REPOSITORY, parse_elsewhere
from tests.dags.test_dag_files import IDS, STEPS

# Airflow's own core uses these
AIRFLOWS = {"sqlalchemy"}


@functools.cache
def parsed(seed: str) -> dict[str, Any]:
    return parse_elsewhere(PYTHONHASHSEED=seed)


def test_two_processes_serialize_the_same_bytes() -> None:
    one, two = (parsed(seed)["serialized"] for seed in ("1", "2"))
    assert sorted(one) == IDS
    assert [dag_id for dag_id in IDS if one[dag_id] != two[dag_id]] == []


def test_no_heavy_library_is_imported_at_parse() -> None:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    banned = set(settings["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-module-level-imports"]) - AIRFLOWS
    assert len(banned) > 10
    assert set(parsed("1")["imported"]) & banned == set()


def test_a_broken_spec_is_one_import_error_and_takes_no_other_dag_down(tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "bad.yaml").write_text(
        'name: bad\nlike: flights\nownr: me\nhistory: {first: "2013-99-99"}\ntraining: {metric: logloss}\n',
        encoding="utf-8",
    )
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "good.yaml").write_text("name: good\nlike: flights\n", encoding="utf-8")
    found = parse_elsewhere(LIFECYCLE_USE_CASES=str(tmp_path))
    (where,), (error,) = found["import_errors"].keys(), found["import_errors"].values()
    assert Path(where).name == "use_case_specs.py"
    for fault in (
        'bad.yaml: ownr unknown; did you mean "owner"?',
        "bad.yaml: history.first \"2013-99-99\": partition '2013-99-99' is not a day; write it as 2013-11-02",
        'bad.yaml: training.metric "logloss"',
    ):
        assert fault in error
    assert sorted(found["serialized"]) == sorted([*IDS, *(f"good_{step}" for step in STEPS)])
    assert (DAGS / "use_case_specs.py").exists()


@pytest.mark.parametrize("file", sorted(file.name for file in DAGS.glob("*.py") if file.name != "use_case_specs.py"))
def test_the_process_of_a_task_builds_only_its_own_dag(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.definitions._internal.dag_parsing_context import _airflow_parsing_context_manager

    loaded: list[str] = []

    def loading(name: str) -> UseCase:
        loaded.append(name)
        return load_use_case(name)

    monkeypatch.setattr("lifecycle.defaults.load_use_case", loading)
    monkeypatch.setattr("lifecycle.defaults.load_use_cases", lambda: pytest.fail("every spec was read"))
    with _airflow_parsing_context_manager(dag_id=f"flights_live_{Path(file).stem}", task_id="any"):
        made = runpy.run_path(str(DAGS / file))
    assert loaded == ["flights_live"]
    assert made["use_case"].name == "flights_live"
