"""Land, audit, publish on real flights: nothing becomes visible that no suite has passed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Asset

from include.core.errors import AuditFailed, UnknownPartition
from include.core.partitions import Span
from include.lake.records import Attempt
from include.steps import ingest
from include.steps.handover import Stages
from include.steps.workspace import Workspace
from include.use_cases.flights.source import FlightsSource
from lifecycle.operators.bootstrap import ChooseSpanOperator
from lifecycle.operators.ingest import LandOperator
from lifecycle.operators.publishing import AuditOperator, PublishOperator
from tests.operators.task_case import context
from tests.unit.flights_case import source_cache

RAW = Asset(name="flights.raw", uri="lifecycle://flights/raw")
DAY = "2013-02-05"


@pytest.fixture
def workspace(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """One unpacked source serves every test."""
    monkeypatch.setenv("LIFECYCLE_SOURCE_CACHE", str(source_cache()))
    return workspace


def land(**values: Any) -> LandOperator:
    return LandOperator(task_id="land", use_case="flights", **values)


def audit(stages: Any) -> AuditOperator:
    return AuditOperator(task_id="audit", use_case="flights", stages=stages)


def publish(stages: Any, outlets: list[Asset]) -> PublishOperator:
    return PublishOperator(task_id="publish", use_case="flights", stages=stages, outlets=outlets)


def rows(workspace: Workspace, table: str) -> int:
    return int(workspace.lake.dataset(f"flights/raw/{table}", [DAY]).count_rows())


def test_a_day_becomes_visible_when_it_is_published_and_is_announced(workspace: Workspace) -> None:
    run = context(DAY, run_type="backfill")
    stages = land().execute(run)
    assert workspace.lake.tables("flights") == []
    assert audit(stages).execute(run) == stages
    assert workspace.lake.tables("flights") == []

    done = publish(stages, [RAW]).execute(run)
    assert done["span"] == {"first": DAY, "last": DAY}
    assert rows(workspace, "schedule") > 600
    record = workspace.lake.records("flights/raw/schedule")[DAY]
    assert (record.attempt.dag_id, record.attempt.run_id) == ("flights_test", "backfill__1")
    assert Path(str(record.report)).exists()
    told = run["outlet_events"][RAW]
    assert told.extra == {"origin": "backfill", "partition": DAY}

    # the same day landed by another run says the same, so it makes no version
    versions = {table: workspace.lake.version(table) for table in workspace.lake.tables("flights")}
    again = context(conf={"partition": DAY})
    repeated = publish(audit(land().execute(again)).execute(again), [RAW]).execute(again)
    assert set(repeated["changed"].values()) == {0}
    assert {table: workspace.lake.version(table) for table in versions} == versions
    assert again["outlet_events"][RAW].partition_keys == {DAY}


class Twice(FlightsSource):
    """Delivers every outcome twice."""

    def deliver(self, con: Any, first: str, last: str) -> dict[str, str]:
        queries = super().deliver(con, first, last)
        queries["outcomes"] = f"SELECT * EXCLUDE (n) FROM ({queries['outcomes']}), range(2) AS twice (n)"
        return queries


def test_a_failed_audit_stops_the_run_and_keeps_the_stage(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.use_cases.flights.source.FlightsSource", Twice)
    run = context(DAY)
    stages = land().execute(run)
    with pytest.raises(AuditFailed) as failed:
        audit(stages).execute(run)
    assert "outcomes" in str(failed.value)
    assert stages["folders"]["flights/raw/outcomes"] in str(failed.value)
    with pytest.raises(AuditFailed, match="not passed"):
        publish(stages, [RAW]).execute(run)
    assert workspace.lake.tables("flights") == []
    assert all(Path(stage).exists() for stage in stages["folders"].values())


def test_a_stage_that_was_not_audited_is_not_published(workspace: Workspace) -> None:
    run = context(DAY)
    with pytest.raises(AuditFailed, match="run the audit task first"):
        publish(land().execute(run), [RAW]).execute(run)
    assert workspace.lake.tables("flights") == []


@pytest.fixture
def landed(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collect the spans that were asked of a source that delivers nothing."""
    asked: list[Any] = []

    def note(workspace: Workspace, span: Span, by: Attempt) -> Stages:
        asked.append((span.keys, by.run_id, by.number))
        return Stages(folders={})

    monkeypatch.setattr(ingest, "land", note)
    return asked


def test_a_range_is_landed_with_the_look_back_of_its_features(landed: list[Any]) -> None:
    land(span={"first": "2013-03-01", "last": "2013-03-02"}).execute(context(attempt=2))
    ((keys, run_id, attempt),) = landed
    assert (keys[0], keys[-1], len(keys)) == ("2013-02-02", "2013-03-02", 29)
    assert (run_id, attempt) == ("manual__1", 2)


def test_without_key_or_form_the_first_day_of_history_is_landed(landed: list[Any]) -> None:
    land().execute(context())
    assert landed[0][0] == ("2013-01-01",)


def test_a_day_outside_history_lands_nothing(landed: list[Any]) -> None:
    with pytest.raises(UnknownPartition):
        land().execute(context("2014-01-01"))
    assert landed == []


@pytest.mark.parametrize(
    ("conf", "first", "last"),
    [
        ({"from": "2013-01-05", "to": "2013-01-09"}, "2013-01-05", "2013-01-09"),
        ({"from": None, "to": "2013-10-31"}, "2013-07-04", "2013-10-31"),
        ({"from": "2013-12-01", "to": None}, "2013-12-01", "2013-12-31"),
        ({}, "2013-09-03", "2013-12-31"),
    ],
)
def test_a_bootstrap_fills_in_what_was_left_empty(
    workspace: Workspace, conf: dict[str, Any], first: str, last: str
) -> None:
    choose = ChooseSpanOperator(task_id="choose_span", use_case="flights")
    assert choose.execute(context(conf=conf)) == {"first": first, "last": last}
