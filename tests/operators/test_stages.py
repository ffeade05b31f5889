"""The other operators: each hands plain values to one function of ``include`` and tells who follows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowSkipException, DagRunTriggerException

from include.core.errors import ConfError, MissingPartitions, UnknownPartition
from include.steps.workspace import Workspace
from lifecycle.operators.features import ComputeFeaturesOperator, MaterializeOperator
from lifecycle.operators.maintenance import CompactOperator, VacuumOperator
from lifecycle.operators.monitoring import MonitorOperator, RequestTrainingOperator
from lifecycle.operators.scoring import ScoreOperator
from lifecycle.operators.training import (
    FitBestOperator,
    FreezeTrainingSetOperator,
    RegisterOperator,
)
from tests.operators.task_case import context, event, publish

SPAN = {"first": "2013-11-02", "last": "2013-11-03"}
FROZEN = {"as_of": "2013-11-01", "table": "flights/training/as_of_2013_11_01", "version": 0}

Record = Callable[[str, Any], list[tuple[Any, ...]]]


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch, workspace: Workspace) -> Record:
    """Stand in for a function of ``include``: gives what it was called with, beside the workspace."""

    def replace(name: str, answer: Any) -> list[tuple[Any, ...]]:
        calls: list[tuple[Any, ...]] = []

        def called(opened: Workspace, *arguments: Any) -> Any:
            assert opened.case.name == "flights"
            assert opened.lake.root == workspace.lake.root
            calls.append(arguments)
            return answer

        module, function = name.rsplit(".", 1)
        monkeypatch.setattr(f"include.{module}.{function}", called)
        return calls

    return replace


def asset(name: str) -> Asset:
    return Asset(name=f"flights.{name}", uri=f"lifecycle://flights/{name}")


# ---- features -----------------------------------------------------------------------------------


def test_features_are_computed_for_the_span(record: Record) -> None:
    calls = record("featurize.stage", {"flights/features/calendar": "somewhere"})
    task = ComputeFeaturesOperator(task_id="compute", use_case="flights", span=SPAN)
    assert task.execute(context(attempt=3)) == {"flights/features/calendar": "somewhere"}
    ((first, last, run),) = calls
    assert (first, last, run.dag_id, run.number) == ("2013-11-02", "2013-11-03", "flights_test", 3)


def test_materializing_tells_scoring(record: Record) -> None:
    record("featurize.materialize", {"views": 13})
    outlet, run = asset("features"), context("2013-11-03", run_type="scheduled")
    task = MaterializeOperator(task_id="materialize", use_case="flights", span=SPAN, outlets=[outlet])
    assert task.execute(run) == {"views": 13}
    assert run["outlet_events"][outlet].extra == {"origin": "scheduled", "partition": "2013-11-03"}


def test_a_bootstrap_wakes_nobody(record: Record) -> None:
    record("featurize.materialize", {"views": 13})
    run = context()
    MaterializeOperator(task_id="materialize", use_case="flights", span=SPAN).execute(run)
    assert len(run["outlet_events"]) == 0


# ---- score and monitor --------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["as_of_clock", "current", "7"])
def test_the_asked_model_scores(record: Record, model: str) -> None:
    calls = record("scoring.stage", {})
    ScoreOperator(task_id="score", use_case="flights", span=SPAN, model=model).execute(context())
    assert calls[0][:3] == ("2013-11-02", "2013-11-03", model)


def test_an_unknown_model_scores_nothing(workspace: Workspace) -> None:
    task = ScoreOperator(task_id="score", use_case="flights", span=SPAN, model="champoin")
    with pytest.raises(ConfError, match='model "champoin" unknown'):
        task.execute(context())
    assert workspace.lake.tables("flights") == []


def test_the_form_reaches_the_model_field() -> None:
    task = ScoreOperator(task_id="score", use_case="flights", span=SPAN)
    task.render_template_fields({"params": {"model": "current"}})
    assert task.model == "current"


def test_monitor_judges_the_span(record: Record) -> None:
    calls = record("monitor.stage", {"flights/monitoring/verdicts": "somewhere"})
    MonitorOperator(task_id="judge", use_case="flights", span=SPAN).execute(context())
    assert calls[0][:2] == ("2013-11-02", "2013-11-03")


def request_training() -> RequestTrainingOperator:
    return RequestTrainingOperator(task_id="request", use_case="flights", span=SPAN, training_dag="flights_train")


def test_a_request_triggers_one_training_as_of_its_day_and_says_why(record: Record) -> None:
    """By trigger, not by asset: the events of a run with a partition key wake no DAG without partitions."""
    calls = record("monitor.training_requested", (True, "2 of 5 windows violate"))
    run = context(run_type="asset_triggered", events=[event({"origin": "scheduled"})])
    with pytest.raises(DagRunTriggerException) as triggered:
        request_training().execute(run)
    assert calls[0][:2] == ("2013-11-03", "scheduled")
    asked = triggered.value
    assert (asked.trigger_dag_id, asked.dag_run_id) == ("flights_train", "requested__2013-11-03")
    assert (asked.conf, asked.note) == ({"as_of": "2013-11-03"}, "2 of 5 windows violate")
    assert asked.skip_when_already_exists
    assert not asked.wait_for_completion


@pytest.mark.parametrize(
    "run", [context(run_type="backfill"), context(run_type="asset_triggered", events=[event({"origin": "backfill"})])]
)
def test_a_chain_that_a_backfill_began_asks_for_nothing(
    record: Record, workspace: Workspace, run: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    record("monitor._record_request", None)
    monkeypatch.setattr("include.promotion.ledger.promotions", lambda *_: [])
    monkeypatch.setattr(
        "include.monitoring.window_verdicts.violations", lambda *_, **__: {"2013-11-02": True, "2013-11-03": True}
    )
    scores = {"model_version": [1]}
    publish_rows(workspace, "predictions/scores", scores)
    publish_rows(workspace, "monitoring/verdicts", scores)
    with pytest.raises(AirflowSkipException, match="backfill"):
        request_training().execute(run)


def publish_rows(workspace: Workspace, table: str, columns: dict[str, list[Any]]) -> None:
    import pyarrow as pa

    from include.lake.records import Attempt

    attempt, key = Attempt("flights", "flights_test", "setup"), "2013-11-03"
    rows = pa.table({**columns, "ds": [key]})
    workspace.lake.publish(workspace.lake.stage(f"flights/{table}", rows.to_reader(), [key], attempt, ()), attempt)


# ---- train --------------------------------------------------------------------------------------


def freeze() -> FreezeTrainingSetOperator:
    return FreezeTrainingSetOperator(task_id="freeze", use_case="flights")


@pytest.mark.parametrize(
    ("run", "as_of"),
    [
        (context(conf={"as_of": "2013-11-01"}), "2013-11-01"),
        (context(conf={"as_of": None}), "2013-11-05"),
    ],
    ids=["form", "newest"],
)
def test_a_training_set_is_frozen_as_of_the_form_or_the_newest_day(
    record: Record, workspace: Workspace, run: dict[str, Any], as_of: str
) -> None:
    publish(workspace, "features", workspace.case.features.views, ["2013-11-05"])
    calls = record("training_sets.freeze", FROZEN)
    known = record("search.frozen_set", None)
    assert freeze().execute(run) == FROZEN
    assert calls[0][0] == as_of
    assert known == [(FROZEN,)]


def test_no_training_set_without_features_or_outside_history(record: Record) -> None:
    calls = record("training_sets.freeze", FROZEN)
    with pytest.raises(MissingPartitions, match="no features partition"):
        freeze().execute(context())
    with pytest.raises(UnknownPartition):
        freeze().execute(context(conf={"as_of": "2014-06-01"}))
    assert calls == []


def test_the_best_is_fitted_and_registered_and_promotion_is_told(record: Record) -> None:
    fitted = {"model_dir": "somewhere", "digest": "00", "training_set": FROZEN}
    record("search.fit", fitted)
    assert FitBestOperator(task_id="fit", use_case="flights", training_set=FROZEN).execute(context()) == fitted

    registered = {"version": "3", "trained_through": "2013-11-01"}
    calls = record("promotion.register", registered)
    outlet, run = asset("challenger"), context()
    task = RegisterOperator(task_id="register", use_case="flights", fitted=fitted, outlets=[outlet])
    assert task.execute(run) == registered
    assert calls[0][0] == fitted
    assert run["outlet_events"][outlet].extra == registered


# ---- maintenance --------------------------------------------------------------------------------


def test_maintenance_counts_before_it_deletes(workspace: Workspace) -> None:
    publish(workspace, "raw", ["weather"], ["2013-11-02"])
    publish(workspace, "raw", ["weather"], ["2013-11-03"])
    assert CompactOperator(task_id="compact", use_case="flights").execute(context()) == {}
    vacuum = VacuumOperator(task_id="vacuum", use_case="flights")
    vacuum.render_template_fields({"params": {"retention_hours": 168, "dry_run": True}})
    assert vacuum.execute(context()) == {}
    assert workspace.lake.keys("flights/raw/weather") == ["2013-11-02", "2013-11-03"]


def test_vacuum_takes_what_the_form_says(record: Record) -> None:
    calls = record("maintenance.vacuum", {})
    task = VacuumOperator(task_id="vacuum", use_case="flights", retention_hours=24, count_only=False)
    task.execute(context())
    assert calls == [(24, False)]
