"""What a run is about: its key, its form, the newest partition; and what it may not be about."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, Asset

from include.core import partitions
from include.core.errors import ConfError, MissingPartitions, UnknownPartition
from include.core.partitions import Span
from include.steps.workspace import Workspace
from lifecycle import context as of
from lifecycle.operators.base import LifecycleOperator
from tests.operators.task_case import FIRST, context, event, publish_raw

# ---- which partition ----------------------------------------------------------------------------


def test_the_runs_key_comes_before_the_newest(workspace: Workspace) -> None:
    publish_raw(workspace, [FIRST])
    assert of.span_of(context("2013-11-02"), workspace, "raw") == Span.one("2013-11-02")


def test_the_form_stands_where_there_is_no_key(workspace: Workspace) -> None:
    assert of.span_of(context(conf={"partition": "2013-11-02"}), workspace, "raw") == Span.one("2013-11-02")


def test_an_empty_form_means_the_newest_partition_with_inputs(workspace: Workspace) -> None:
    publish_raw(workspace, ["2013-01-01", "2013-01-02"])
    assert of.span_of(context(conf={"partition": None}), workspace, "raw") == Span.one("2013-01-02")
    with pytest.raises(MissingPartitions, match="run flights_bootstrap first"):
        of.span_of(context(), workspace, "features")


def test_an_empty_form_means_the_next_partition_for_ingest(workspace: Workspace) -> None:
    assert of.span_of(context(), workspace, "source") == Span.one(FIRST)
    publish_raw(workspace, ["2013-01-01", "2013-01-02"])
    assert of.span_of(context(), workspace, "source") == Span.one("2013-01-03")


def test_after_the_last_day_of_history_there_is_no_next(workspace: Workspace) -> None:
    publish_raw(workspace, ["2013-12-31"])
    with pytest.raises(UnknownPartition, match=r"2014-01-01.* outside the source's history"):
        of.span_of(context(), workspace, "source")


def test_a_key_and_a_form_that_disagree_are_refused(workspace: Workspace) -> None:
    assert of.span_of(context("2013-11-02", conf={"partition": "2013-11-02"}), workspace, "raw")
    with pytest.raises(ConfError, match=r"2013-11-02 but its form asks for 2013-11-03"):
        of.span_of(context("2013-11-02", conf={"partition": "2013-11-03"}), workspace, "raw")


@pytest.mark.parametrize("key", ["2014-01-01", "2012-12-31", "2013-1-2", "'; DROP TABLE x; --", "../x", "{{ ds }}"])
def test_a_key_outside_history_or_not_a_day_is_refused(workspace: Workspace, key: str) -> None:
    for layer in ("source", "raw"):
        with pytest.raises(UnknownPartition):
            of.span_of(context(key), workspace, layer)
    assert workspace.lake.tables("flights") == []


def test_a_day_that_has_not_begun_is_refused_where_history_goes_on(workspace: Workspace) -> None:
    live = Workspace(workspace.settings, Workspace.open("flights_live").case)
    today = of.today(live)
    assert of.span_of(context(today), live, "source") == Span.one(today)
    with pytest.raises(ConfError, match=f"has not begun yet; the newest one is {today}"):
        of.span_of(context(partitions.shift(today, 2)), live, "source")


# ---- where a chain began ------------------------------------------------------------------------


@pytest.mark.parametrize("run_type", ["scheduled", "manual", "backfill"])
def test_a_run_that_nothing_woke_is_its_own_origin(run_type: str) -> None:
    assert of.origin_of(context(run_type=run_type)) == run_type
    assert of.origin_of(context(run_type=SimpleNamespace(value=run_type))) == run_type  # type: ignore[arg-type]


def test_a_woken_run_inherits_the_origin() -> None:
    assert of.origin_of(context(run_type="asset_triggered", events=[event({"origin": "backfill"})])) == "backfill"
    assert of.origin_of(context(run_type="asset_triggered", events=[event({})])) == "asset_triggered"


def test_of_several_events_the_newest_counts() -> None:
    events = [event({"origin": "backfill"}, minute=2), event({"origin": "scheduled"}, minute=1), event({}, minute=3)]
    assert of.origin_of(context(run_type="asset_triggered", events=events)) == "backfill"


def test_an_announcement_carries_partition_and_origin() -> None:
    asset = Asset(name="flights.raw", uri="lifecycle://flights/raw")
    keyed, unkeyed = context("2013-11-02", run_type="backfill"), context()
    of.announce(keyed, [asset], "2013-11-02")
    of.announce(unkeyed, [asset], "2013-11-03")
    told = keyed["outlet_events"][asset]
    assert told.extra == {"origin": "backfill", "partition": "2013-11-02"}
    # the run's own key travels by itself; named again, its consumers would run twice
    assert told.partition_keys == set()
    assert unkeyed["outlet_events"][asset].partition_keys == {"2013-11-03"}


# ---- conf ---------------------------------------------------------------------------------------


def operator() -> Any:
    with DAG(dag_id="flights_test", params={"partition": None, "model": "current"}):
        return LifecycleOperator(task_id="task", use_case="flights")


def test_conf_may_only_name_what_the_form_has() -> None:
    task = operator()
    for conf in (None, {}, {"model": "3"}):
        task.pre_execute(context(conf=conf))
    with pytest.raises(
        ConfError, match=r'"modle" unknown; did you mean "model"\?.*flights_test knows partition, model'
    ):
        task.pre_execute(context(conf={"modle": "3", "model": "3"}))
