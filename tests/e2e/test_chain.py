"""The chain on real flights: bootstrap, train, promote and backfill, each twice; nothing is published twice."""

from __future__ import annotations

import json
from typing import Any

import pytest

from include.core.partitions import Span
from include.lake.records import Attempt
from include.promotion import ledger
from include.registry import model_versions
from include.sources.adapter import REFERENCE
from include.stack.api import Json
from include.steps import features
from include.steps.handover import FrozenTrainingSet
from include.steps.train import search, training_sets
from include.training.study import results
from tests.e2e.conftest import DAYS, FIRST, LAST, LOADED, TRIALS, Backfilled, Retrained, Trained
from tests.e2e.deployment import CASE, CHAIN, Deployment, dag

pytestmark = pytest.mark.e2e


def test_bootstrap_publishes_each_day_of_each_table(bootstrapped: Deployment) -> None:
    lake = bootstrapped.workspace.lake
    tables = [*bootstrapped.daily_raw_tables, *bootstrapped.feature_tables]
    published = {table: lake.published(table, LOADED) for table in tables}
    assert published == dict.fromkeys(tables, frozenset(LOADED))
    for name in bootstrapped.workspace.case.reference_raw:
        assert lake.published(bootstrapped.table("raw", name), [REFERENCE])
    # no outcome became known before the first day of history
    assert set(LOADED) - set(lake.keys(bootstrapped.table("raw", "outcomes"))) == {FIRST}


def test_bootstrap_wakes_nobody(bootstrapped: Deployment) -> None:
    woken = [run for step in ("features", "score", "monitor") for run in bootstrapped.api.runs(dag(step))]
    assert [run for run in woken if run["run_type"] != "manual" and run["partition_key"] in LOADED] == []


def test_bootstrap_again_changes_no_table(bootstrapped: Deployment) -> None:
    before = bootstrapped.versions()
    bootstrapped.run("bootstrap", {"from": FIRST, "to": LAST})
    assert bootstrapped.versions() == before


def test_killed_workers_do_not_cost_the_search_a_trial(bootstrapped: Deployment, trained: Trained) -> None:
    run_id = str(trained.run["dag_run_id"])
    frozen = _frozen_by(bootstrapped, run_id)
    name = search.study_of(bootstrapped.workspace, training_sets.load(frozen))
    progress = results.study_progress(bootstrapped.workspace.settings.optuna_storage, name)
    assert trained.killed >= 1, "no worker was killed in the middle of a trial"
    assert progress.lost >= 1
    assert (progress.total, progress.done + progress.pruned, progress.failed, progress.running) == (
        TRIALS,
        TRIALS,
        0,
        0,
    )
    tries = [task["try_number"] for task in bootstrapped.tasks("train", run_id, "search")]
    assert sorted(tries)[-1] == 2


def test_training_registers_one_version(bootstrapped: Deployment, trained: Trained) -> None:
    version = model_versions.version_info(bootstrapped.workspace.settings.mlflow_tracking_uri, CASE, 1)
    frozen = _frozen_by(bootstrapped, str(trained.run["dag_run_id"]))
    assert len(version.digest) == 64
    assert version.trained_through == "2013-02-08", "the clock of the last day is where knowledge ends"
    assert version.tags["training_set_version"] == str(frozen.version)
    assert version.tags["training_set_fingerprint"] == training_sets.load(frozen).fingerprint
    registered = bootstrapped.api.xcom(dag("train"), str(trained.run["dag_run_id"]), "register")
    assert registered == {"schema_version": 1, "version": "1", "trained_through": version.trained_through}


def test_training_set_can_be_rebuilt(bootstrapped: Deployment, trained: Trained) -> None:
    frozen = _frozen_by(bootstrapped, str(trained.run["dag_run_id"]))
    record = bootstrapped.workspace.lake.records(frozen.table, [LAST])[LAST]
    assert training_sets.rebuild(bootstrapped.workspace, LAST, record.version) == record.fingerprint


def test_challenger_is_promoted_by_its_asset_event(bootstrapped: Deployment, promoted: Json) -> None:
    assert promoted["run_type"] == "asset_triggered"
    (entry,) = ledger.promotions(bootstrapped.workspace.lake, bootstrapped.workspace.case)
    assert (entry.entry, entry.version, entry.previous, entry.decided_by) == (1, 1, None, "auto")
    assert json.loads(entry.evidence)["promote"] is True
    uri = bootstrapped.workspace.settings.mlflow_tracking_uri
    assert model_versions.champion(uri, CASE).number == 1


def test_backfilled_days_flow_to_their_monitoring(bootstrapped: Deployment, backfilled: Backfilled) -> None:
    kinds = {pair: run["run_type"] for pair, run in backfilled.runs.items()}
    expected = {(dag(step), key): "asset_triggered" for step in CHAIN for key in DAYS}
    assert kinds == expected | {(dag("ingest"), key): "backfill" for key in DAYS}
    lake = bootstrapped.workspace.lake
    tables = [*bootstrapped.daily_raw_tables, *bootstrapped.feature_tables]
    tables += [bootstrapped.table("predictions", "scores"), bootstrapped.table("monitoring", "verdicts")]
    for table in tables:
        assert lake.published(table, DAYS) == frozenset(DAYS), table


def test_every_scheduled_flight_is_scored_once_and_says_by_what(
    bootstrapped: Deployment, backfilled: Backfilled
) -> None:
    key = list(bootstrapped.workspace.case.predictions.key)
    for day in DAYS:
        scored = _rows(bootstrapped, "predictions", "scores", day)
        scheduled = _rows(bootstrapped, "raw", "schedule", day)
        assert sorted(tuple(row[name] for name in key) for row in scored) == sorted(
            tuple(row[name] for name in key) for row in scheduled
        )
        assert {row["model_version"] for row in scored} == {1}
        assert len({row["features_version"] for row in scored}) == 1
        assert all(0 < row["prediction"] < 1 for row in scored)


def test_records_say_what_was_read(bootstrapped: Deployment, backfilled: Backfilled) -> None:
    scores = bootstrapped.workspace.lake.records(bootstrapped.table("predictions", "scores"), DAYS)
    for day, record in scores.items():
        assert record.attempt.dag_id == dag("score")
        assert record.attempt.run_id == backfilled.runs[dag("score"), day]["dag_run_id"]
        assert set(bootstrapped.feature_tables) < set(record.inputs)
        assert record.report


def test_backfilled_monitoring_finds_drift_and_asks_for_nothing(
    bootstrapped: Deployment, backfilled: Backfilled
) -> None:
    for day in DAYS:
        verdicts = _rows(bootstrapped, "monitoring", "verdicts", day)
        assert any(row["violated"] for row in verdicts), "there was something to ask for"
        run_id = str(backfilled.runs[dag("monitor"), day]["dag_run_id"])
        (asking,) = bootstrapped.tasks("monitor", run_id, "request_training")
        assert asking["state"] == "skipped"
    assert bootstrapped.workspace.lake.version(bootstrapped.table("monitoring", "requests")) is None
    assert {run["run_type"] for run in bootstrapped.api.runs(dag("train"))} == {"manual"}


def test_publish_killed_half_way_is_completed_once(bootstrapped: Deployment, backfilled: Backfilled) -> None:
    published_by: dict[str, set[int]] = {day: set() for day in DAYS}
    for table in bootstrapped.feature_tables:
        commits = [record for record in bootstrapped.workspace.lake.history(table) if record.key in DAYS]
        assert sorted(record.key for record in commits) == sorted(DAYS), table
        for record in commits:
            published_by[record.key].add(record.attempt.number)
    assert sorted(published_by.values(), key=len) == [{1}, {1, 2}], "the kill came between two tables"
    for day, numbers in published_by.items():
        (publish,) = bootstrapped.tasks("features", str(backfilled.runs[dag("features"), day]["dag_run_id"]), "publish")
        assert publish["try_number"] == max(numbers)


def test_parallel_days_have_the_features_of_each_day_alone(bootstrapped: Deployment, backfilled: Backfilled) -> None:
    workspace = bootstrapped.workspace
    for day in (LAST, *DAYS):
        alone = features.stage(workspace, Span.one(day), Attempt(CASE, "alone", day))
        for table, path in alone.folders.items():
            staged = workspace.lake.open_stage(path)
            assert bootstrapped.fingerprints(table, [day]) == {day: staged.partitions[day].fingerprint}, table
            workspace.lake.discard(staged)


def test_scoring_again_publishes_nothing(bootstrapped: Deployment, backfilled: Backfilled) -> None:
    before = bootstrapped.versions()
    since = bootstrapped.backfill("score", DAYS, "--reprocess-behavior", "completed")
    bootstrapped.flowed(("score", "monitor"), DAYS, since)
    assert bootstrapped.versions() == before


def test_ingesting_again_publishes_nothing(bootstrapped: Deployment, backfilled: Backfilled) -> None:
    before = bootstrapped.versions()
    since = bootstrapped.backfill("ingest", DAYS[:1], "--reprocess-behavior", "completed")
    bootstrapped.flowed(CHAIN, DAYS[:1], since)
    assert bootstrapped.versions() == before


def test_a_plan_of_nothing_is_run_without_a_step(bootstrapped: Deployment, backfilled: Backfilled) -> None:
    before = bootstrapped.versions()
    run = bootstrapped.run("reprocess")
    states = {
        task["task_id"]: task["state"] for task in bootstrapped.api.task_instances(dag("reprocess"), run["dag_run_id"])
    }
    assert states.pop("plan") == "success"
    assert set(states.values()) == {"skipped"}
    assert bootstrapped.versions() == before


def test_another_plan_than_the_one_that_was_read_is_refused(bootstrapped: Deployment, backfilled: Backfilled) -> None:
    said = bootstrapped.why_failed("reprocess", bootstrapped.start("reprocess", {"plan": "0123456789ab"}))
    assert "not 0123456789ab: something has changed since it was made" in said


def test_monitoring_by_hand_asks_for_training(bootstrapped: Deployment, retrained: Retrained) -> None:
    (request,) = _rows(bootstrapped, "monitoring", "requests", DAYS[-1])
    assert request["model_version"] == 1
    frozen = _frozen_by(bootstrapped, str(retrained.training["dag_run_id"]))
    assert frozen.as_of == DAYS[-1], "it trains on what was known when it was asked for"
    registered = bootstrapped.api.xcom(dag("train"), str(retrained.training["dag_run_id"]), "register")
    assert registered == {"schema_version": 1, "version": "2", "trained_through": DAYS[0]}


def test_its_challenger_is_judged_against_the_champion(bootstrapped: Deployment, retrained: Retrained) -> None:
    judged = bootstrapped.api.xcom(dag("promote"), str(retrained.judging["dag_run_id"]), "judge")
    assert (judged["version"], judged["change"]) == (2, False)
    assert "3 test blocks (days, or longer periods) are too few to compare by" in judged["reason"]


def test_a_backfill_across_a_promotion_scores_each_day_with_its_own_champion(
    bootstrapped: Deployment, retrained: Retrained
) -> None:
    since = bootstrapped.backfill("score", DAYS, "--reprocess-behavior", "completed")
    bootstrapped.flowed(("score", "monitor"), DAYS, since)
    assert retrained.before == {day: {1} for day in DAYS}
    # version 2 has learnt from the outcomes of the first day, so it must not predict that day
    assert {day: bootstrapped.scored_by(day) for day in DAYS} == {DAYS[0]: {1}, DAYS[1]: {2}}
    through = {entry.version: entry.trained_through for entry in _promotions(bootstrapped)}
    for day in DAYS:
        assert all(through[version] < day for version in bootstrapped.scored_by(day))
    published = [
        record.key for record in bootstrapped.workspace.lake.history(bootstrapped.table("predictions", "scores"))
    ]
    assert sorted(published) == [DAYS[0], DAYS[1], DAYS[1]], "the day whose champion stayed is not published again"


def _promotions(deployment: Deployment) -> list[ledger.Promotion]:
    return ledger.promotions(deployment.workspace.lake, deployment.workspace.case)


def _frozen_by(deployment: Deployment, run_id: str) -> FrozenTrainingSet:
    return FrozenTrainingSet.model_validate(deployment.api.xcom(dag("train"), run_id, "freeze_training_set"))


def _rows(deployment: Deployment, layer: str, name: str, day: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (
        deployment.workspace.lake.dataset(deployment.table(layer, name), [day]).to_table().to_pylist()
    )
    return rows
