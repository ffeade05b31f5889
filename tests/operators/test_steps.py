"""The other operators: each hands values to one function of ``include.steps``, and announces its partition."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.sdk import DAG, Asset
from airflow.sdk.exceptions import AirflowSkipException, DagRunTriggerException

from include.core.errors import ConfError, MissingPartitions, UnknownPartition
from include.core.partitions import Span
from include.steps.handover import Fitted, FrozenTrainingSet, Materialized, Published, Registered, Stages
from include.steps.plan.planning import Plan
from include.steps.workspace import Workspace
from lifecycle.operators.features import ComputeFeaturesOperator, MaterializeOperator
from lifecycle.operators.maintenance import CompactOperator, VacuumOperator, VerifyOperator
from lifecycle.operators.monitor import MonitorOperator, RequestTrainingOperator
from lifecycle.operators.reprocess import PlanOperator, TrainStaleOperator
from lifecycle.operators.score import ScoreOperator
from lifecycle.operators.train import (
    FitBestOperator,
    FreezeTrainingSetOperator,
    RegisterOperator,
)
from tests.operators.task_case import context, event, publish

SPAN = Span(first="2013-11-02", last="2013-11-03")
PUBLISHED = Published(span=SPAN, changed={}).model_dump()
FROZEN = FrozenTrainingSet(
    as_of="2013-11-01", table="flights/training/as_of_2013_11_01", uri="somewhere", version=0, rows=7,
    trained_through="2013-10-31", fingerprint="0" * 64,
)  # fmt: skip

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
        monkeypatch.setattr(f"include.steps.{module}.{function}", called)
        return calls

    return replace


def asset(name: str) -> Asset:
    return Asset(name=f"flights.{name}", uri=f"lifecycle://flights/{name}")


# ---- features -----------------------------------------------------------------------------------


def test_features_are_computed_for_the_span(record: Record) -> None:
    folders = {"flights/features/calendar": "somewhere"}
    calls = record("features.stage", Stages(folders=folders))
    task = ComputeFeaturesOperator(task_id="compute", use_case="flights", span=SPAN.model_dump())
    assert task.execute(context(attempt=3)) == {"schema_version": 1, "folders": folders}
    ((span, attempt),) = calls
    assert (span, attempt.dag_id, attempt.number) == (SPAN, "flights_test", 3)


def test_materializing_tells_scoring(record: Record) -> None:
    materialized = Materialized(span=SPAN, views=13)
    calls = record("features.materialize", materialized)
    outlet, run = asset("features"), context("2013-11-03", run_type="scheduled")
    task = MaterializeOperator(task_id="materialize", use_case="flights", published=PUBLISHED, outlets=[outlet])
    assert task.execute(run) == materialized.model_dump()
    assert calls == [(SPAN,)]
    assert run["outlet_events"][outlet].extra == {"origin": "scheduled", "partition": "2013-11-03"}


def test_a_bootstrap_wakes_nobody(record: Record) -> None:
    record("features.materialize", Materialized(span=SPAN, views=13))
    run = context()
    MaterializeOperator(task_id="materialize", use_case="flights", published=PUBLISHED).execute(run)
    assert len(run["outlet_events"]) == 0


# ---- score and monitor --------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["as_of_clock", "current", "7"])
def test_the_asked_model_scores(record: Record, model: str) -> None:
    calls = record("score.predicting.stage", Stages(folders={}))
    ScoreOperator(task_id="score", use_case="flights", span=SPAN.model_dump(), model=model).execute(context())
    assert calls[0][:2] == (SPAN, model)


def test_an_unknown_model_scores_nothing(workspace: Workspace) -> None:
    task = ScoreOperator(task_id="score", use_case="flights", span=SPAN.model_dump(), model="champoin")
    with pytest.raises(ConfError, match='model "champoin" unknown'):
        task.execute(context())
    assert workspace.lake.tables("flights") == []


def test_the_form_reaches_the_model_field() -> None:
    task = ScoreOperator(task_id="score", use_case="flights", span=SPAN.model_dump())
    task.render_template_fields({"params": {"model": "current"}})
    assert task.model == "current"


def test_monitor_judges_the_span(record: Record) -> None:
    calls = record("monitor.stage", Stages(folders={"flights/monitoring/verdicts": "somewhere"}))
    MonitorOperator(task_id="judge", use_case="flights", span=SPAN.model_dump()).execute(context())
    assert calls[0][0] == SPAN


def request_training() -> RequestTrainingOperator:
    return RequestTrainingOperator(
        task_id="request", use_case="flights", published=PUBLISHED, training_dag="flights_train"
    )


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
    calls = record("train.training_sets.freeze", FROZEN)
    assert freeze().execute(run) == FROZEN.model_dump()
    assert calls[0][0] == as_of


def test_no_training_set_without_features_or_outside_history(record: Record) -> None:
    calls = record("train.training_sets.freeze", FROZEN)
    with pytest.raises(MissingPartitions, match="no features partition"):
        freeze().execute(context())
    with pytest.raises(UnknownPartition):
        freeze().execute(context(conf={"as_of": "2014-06-01"}))
    assert calls == []


def test_the_best_is_fitted_and_registered_and_promotion_is_told(record: Record) -> None:
    fitted = Fitted(model_dir="somewhere", digest="00", training_set=FROZEN)
    record("train.search.fit", fitted)
    fit = FitBestOperator(task_id="fit", use_case="flights", training_set=FROZEN.model_dump())
    assert fit.execute(context()) == fitted.model_dump()

    registered = Registered(version="3", trained_through="2013-11-01")
    calls = record("train.registering.register", registered)
    outlet, run = asset("challenger"), context()
    task = RegisterOperator(task_id="register", use_case="flights", fitted=fitted.model_dump(), outlets=[outlet])
    assert task.execute(run) == registered.model_dump()
    assert calls[0][0] == fitted
    assert run["outlet_events"][outlet].extra == registered.model_dump()


def test_a_value_that_this_release_cannot_read_names_the_task_to_clear(record: Record) -> None:
    calls = record("train.registering.register", None)
    older = {"model_dir": "somewhere", "digest": "00", "training_set": FROZEN.model_dump(), "schema_version": 0}
    task = RegisterOperator(task_id="register", use_case="flights", fitted=older)
    with pytest.raises(ConfError, match=r"register: the task before returned no Fitted .*schema_version.*clear that"):
        task.execute(context())
    assert calls == []


# ---- reprocess ----------------------------------------------------------------------------------

PLAN = Plan(
    use_case="flights", stale=(), champion=3, model=(), train_as_of=None, features=(SPAN,),
    scores=(Span.one("2013-11-02"), Span.one("2013-11-05")), verdicts=(), seconds=None,
    scores_now=(Span.one("2013-11-02"), Span.one("2013-11-05")), verdicts_now=(),
)  # fmt: skip


def test_a_plan_is_handed_on_as_one_span_a_step(record: Record) -> None:
    record("plan.planning.make", PLAN)
    found = PlanOperator(task_id="plan", use_case="flights", asked=PLAN.digest).execute(context())
    assert found["features"] == SPAN.model_dump()
    assert found["scores"] == {"first": "2013-11-02", "last": "2013-11-05"}
    assert (found["verdicts"], found["train_as_of"]) == (None, None)


def test_scores_wait_that_only_the_next_champion_can_say(record: Record) -> None:
    waiting = {"model": ("labels",), "train_as_of": "2013-11-05", "scores_now": ()}
    record("plan.planning.make", PLAN.model_copy(update=waiting))
    found = PlanOperator(task_id="plan", use_case="flights", asked=None).execute(context())
    assert (found["features"], found["scores"], found["train_as_of"]) == (SPAN.model_dump(), None, "2013-11-05")


def test_another_plan_than_the_one_that_was_read_is_refused(record: Record) -> None:
    record("plan.planning.make", PLAN)
    with pytest.raises(ConfError, match=f"the plan is {PLAN.digest} now, not 0123456789ab"):
        PlanOperator(task_id="plan", use_case="flights", asked="0123456789ab").execute(context())


def test_a_step_that_nothing_is_stale_of_is_skipped() -> None:
    with DAG("flights_reprocess"):
        task = ScoreOperator(task_id="score", use_case="flights", span=None, model="as_of_clock")
    with pytest.raises(AirflowSkipException, match="no partition of this step is stale"):
        task.pre_execute(context())


def test_a_stale_champion_triggers_one_training(workspace: Workspace) -> None:
    task = TrainStaleOperator(task_id="train", use_case="flights", as_of="2013-11-05", training_dag="flights_train")
    for _ in range(2):
        with pytest.raises(DagRunTriggerException) as asked:
            task.execute(context())
        assert asked.value.trigger_dag_id == "flights_train"
        assert asked.value.conf == {"as_of": "2013-11-05"}
        assert asked.value.dag_run_id == "reprocess__manual__1"
    task.as_of = None
    with pytest.raises(AirflowSkipException):
        task.execute(context())


# ---- maintenance --------------------------------------------------------------------------------


def test_maintenance_counts_before_it_deletes(workspace: Workspace) -> None:
    publish(workspace, "raw", ["weather"], ["2013-11-02"])
    publish(workspace, "raw", ["weather"], ["2013-11-03"])
    assert CompactOperator(task_id="compact", use_case="flights").execute(context()) == {}
    vacuum = VacuumOperator(task_id="vacuum", use_case="flights")
    vacuum.render_template_fields({"params": {"retention_hours": 168, "dry_run": True}})
    assert vacuum.execute(context()) == {}
    assert workspace.lake.keys("flights/raw/weather") == ["2013-11-02", "2013-11-03"]


@pytest.mark.parametrize(
    ("run_type", "day", "asked", "verifies"),
    [
        ("scheduled", "2013-11-07T11:00", False, True),
        ("scheduled", "2013-11-08T04:30", False, True),
        ("scheduled", "2013-11-10T11:00", False, False),
        ("manual", "2013-11-03T11:00", False, False),
        ("manual", "2013-11-20T11:00", True, True),
    ],
)
def test_the_lake_is_verified_once_a_month_or_when_asked(
    workspace: Workspace, run_type: str, day: str, asked: bool, verifies: bool
) -> None:
    """In New York it is still the seventh at 04:30 UTC on the eighth."""
    publish(workspace, "raw", ["weather"], ["2013-11-02"])
    task = VerifyOperator(task_id="verify", use_case="flights", asked=asked)
    given = context(run_type=run_type)
    given["dag_run"].run_after = datetime.fromisoformat(day).replace(tzinfo=UTC)
    if verifies:
        assert task.execute(given) == {"partitions": 1, "rows": 1, "unnamed": 0}
    else:
        with pytest.raises(AirflowSkipException, match="first scheduled run of a month"):
            task.execute(given)


def test_vacuum_takes_what_the_form_says(record: Record) -> None:
    calls = record("maintenance.vacuum", {})
    task = VacuumOperator(task_id="vacuum", use_case="flights", retention_hours=24, count_only=False)
    task.execute(context())
    assert calls == [(24, False)]
