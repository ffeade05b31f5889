"""Waiting: a run goes on when its inputs are published, and fails naming what nobody is producing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from include.core.errors import MissingPartitions
from include.core.partitions import Span
from include.lake.lake import Lake
from include.steps import inputs
from include.steps.workspace import Workspace
from lifecycle import triggers
from lifecycle.operators.inputs import AwaitInputsOperator
from lifecycle.triggers import InputsTrigger
from tests.operators.task_case import FIRST, context, publish, publish_raw

SECOND = "2013-01-02"


def awaiting(step: str = "features") -> AwaitInputsOperator:
    return AwaitInputsOperator(task_id="await_inputs", use_case="flights", step=step)


# ---- the operator -------------------------------------------------------------------------------


def test_it_passes_when_everything_is_published(workspace: Workspace) -> None:
    publish_raw(workspace, [FIRST])
    assert awaiting().execute(context(FIRST)) == {"first": FIRST, "last": FIRST}


def test_it_works_on_the_newest_partition_when_none_is_named(workspace: Workspace) -> None:
    publish_raw(workspace, [FIRST, SECOND])
    assert awaiting().execute(context()) == {"first": SECOND, "last": SECOND}


def test_it_defers_when_a_partition_of_the_look_back_is_missing(workspace: Workspace) -> None:
    publish_raw(workspace, [SECOND])
    with pytest.raises(TaskDeferred) as deferred:
        awaiting().execute(context(SECOND))
    trigger = deferred.value.trigger
    assert isinstance(trigger, InputsTrigger)
    assert (trigger.use_case, trigger.step, trigger.span) == ("flights", "features", {"first": SECOND, "last": SECOND})
    assert deferred.value.method_name == "proceed"
    assert deferred.value.timeout is not None


def test_scoring_waits_for_every_view_and_for_the_schedule(workspace: Workspace) -> None:
    publish_raw(workspace, [FIRST])
    *views, last = workspace.case.features.views
    publish(workspace, "features", views, [FIRST])
    with pytest.raises(TaskDeferred):
        awaiting("score").execute(context(FIRST))
    publish(workspace, "features", [last], [FIRST])
    assert awaiting("score").execute(context(FIRST)) == {"first": FIRST, "last": FIRST}


def test_it_proceeds_with_what_the_trigger_saw() -> None:
    event = {"span": {"first": FIRST, "last": SECOND}, "fault": None}
    assert awaiting().proceed(context(), event) == {"first": FIRST, "last": SECOND}


def test_it_fails_naming_what_nobody_is_producing() -> None:
    with pytest.raises(MissingPartitions, match="flights/raw/weather: 2013-01-01"):
        awaiting().proceed(context(), {"span": {}, "fault": "flights/raw/weather: 2013-01-01: not published"})


# ---- the trigger --------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triggers, "POLL_SECONDS", 0.01)


Busy = Callable[[Iterator[int]], list[list[str]]]


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Busy:
    """Let the producers have so many runs to do, look by look; gives the DAGs that were asked about."""

    def script(counts: Iterator[int]) -> list[list[str]]:
        asked: list[list[str]] = []

        async def runs_to_do(self: InputsTrigger, dag_ids: list[str]) -> int:
            asked.append(dag_ids)
            return next(counts)

        monkeypatch.setattr(InputsTrigger, "_runs_to_do", runs_to_do)
        return asked

    return script


def span(first: str, last: str | None = None) -> dict[str, str]:
    return {"first": first, "last": last or first}


def fired(key: str, step: str = "features", grace: float = 0.05) -> dict[str, Any]:
    """Return the payload of the first event."""

    async def first() -> Any:
        async for found in InputsTrigger("flights", step, span(key), grace).run():
            return found.payload
        return None

    payload: dict[str, Any] = asyncio.run(asyncio.wait_for(first(), 20))
    return payload


def forever(count: int) -> Iterator[int]:
    while True:
        yield count


def test_it_fires_at_once_when_the_inputs_are_there(workspace: Workspace, busy: Busy) -> None:
    publish_raw(workspace, [FIRST])
    asked = busy(forever(0))
    assert fired(FIRST) == {"span": span(FIRST), "fault": None}
    assert asked == [inputs.producers(workspace, "features")]


def test_the_dags_that_publish_an_input_are_its_producers(workspace: Workspace) -> None:
    """Each DAG with a task that publishes what the step reads, reprocess among them."""
    made_by = {"features": {"ingest", "bootstrap"}}
    made_by["score"] = made_by["features"] | {"features", "reprocess"}
    made_by["monitor"] = made_by["score"] | {"score"}
    for step, dags in made_by.items():
        assert set(inputs.producers(workspace, step)) == {f"flights_{dag}" for dag in dags}


def test_it_waits_beyond_its_grace_while_a_producer_has_runs_to_do(workspace: Workspace, busy: Busy) -> None:
    publish_raw(workspace, [SECOND])

    def producer() -> Iterator[int]:
        for _ in range(20):
            yield 1
        publish_raw(workspace, [FIRST])
        yield from forever(0)

    asked = busy(producer())
    assert fired(SECOND, grace=0.01) == {"span": span(SECOND), "fault": None}
    assert len(asked) == 21


def test_idle_time_is_counted_anew_after_a_producer_was_seen(workspace: Workspace, busy: Busy) -> None:
    publish_raw(workspace, [SECOND])

    def producer() -> Iterator[int]:
        for _ in range(10):
            yield from (0, 0, 1)
        publish_raw(workspace, [FIRST])
        yield from forever(0)

    busy(producer())
    assert fired(SECOND, grace=2)["fault"] is None


def test_it_gives_up_naming_what_nobody_is_producing(workspace: Workspace, busy: Busy) -> None:
    publish_raw(workspace, [SECOND])
    busy(forever(0))
    fault = fired(SECOND)["fault"]
    for part in (
        "flights/raw/outcomes: 2013-01-01",
        "flights/raw/schedule: 2013-01-01",
        "flights/raw/weather: 2013-01-01",
        "nobody is producing them",
        "flights_bootstrap",
        "airflow backfill create --dag-id flights_ingest",
    ):
        assert part in fault
    assert SECOND not in fault
    assert "planes" not in fault


def test_partitions_that_are_only_optional_are_waited_for_but_not_required(workspace: Workspace, busy: Busy) -> None:
    keys = [FIRST, SECOND]
    publish_raw(workspace, keys)
    publish(workspace, "features", workspace.case.features.views, keys)
    publish(workspace, "predictions", ["scores"], [SECOND])
    assert inputs.missing(workspace, "monitor", Span.one(SECOND)) == {"flights/predictions/scores": (FIRST,)}
    busy(forever(0))
    assert fired(SECOND, "monitor") == {"span": span(SECOND), "fault": None}


def test_it_looks_again_only_for_what_was_missing_and_at_the_end_for_everything(
    workspace: Workspace, busy: Busy, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_raw(workspace, [SECOND])
    looked: list[int] = []
    published = Lake.published

    def counting(lake: Lake, table: str, keys: Iterable[str]) -> frozenset[str]:
        looked[-1] += 1
        return published(lake, table, keys)

    monkeypatch.setattr(Lake, "published", counting)

    def producer() -> Iterator[int]:
        for _ in range(3):
            looked.append(0)
            yield 1
        publish_raw(workspace, [FIRST])
        looked.append(0)
        yield 0

    busy(producer())
    assert fired(SECOND, grace=0.01) == {"span": span(SECOND), "fault": None}
    daily, reference = len(workspace.case.partitioned_raw), len(workspace.case.reference_raw)
    assert looked == [daily + reference, daily, daily, daily + daily + reference]


def test_a_long_wait_is_looked_at_less_often_until_the_producers_are_idle() -> None:
    least = triggers.POLL_SECONDS
    assert [triggers._pause(waited, idle=False) for waited in (0, 40, 80, 3600)] == [least, 2, 4, 5]
    assert triggers._pause(3600, idle=True) == least


def test_it_asks_for_runs_that_are_queued_or_running(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def count(dag_id: str, states: list[str]) -> int:
        asked.append((dag_id, states))
        return 2

    monkeypatch.setattr(RuntimeTaskInstance, "get_dr_count", staticmethod(count))
    trigger = InputsTrigger("flights", "features", span(FIRST))
    assert asyncio.run(trigger._runs_to_do(["flights_ingest", "flights_bootstrap"])) == 4
    assert asked == [("flights_ingest", ["queued", "running"]), ("flights_bootstrap", ["queued", "running"])]


def test_it_survives_serialization() -> None:
    trigger = InputsTrigger("flights", "score", span(FIRST, SECOND), 7.5)
    path, values = trigger.serialize()
    module, name = path.rsplit(".", 1)
    assert getattr(__import__(module, fromlist=[name]), name) is InputsTrigger
    assert InputsTrigger(**values).serialize() == (path, values)
