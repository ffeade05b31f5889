"""Steps of the chain as whole pieces of work, for processes that die in them and for the attempt that comes after.

As in Airflow, the stages that one task wrote are handed to the next: an attempt finds them in a file and does not stage
again. A kill before that file exists makes the next attempt stage again. Suites run only where ``audit`` says so: they
are most of the work, and other tests' subject.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from include.core.partitions import Span
from include.lake.records import Attempt
from include.steps import features, ingest, monitor, publishing
from include.steps.handover import Fitted, Proposal, Stages
from include.steps.promote import deciding
from include.steps.score import predicting
from include.steps.train import registering
from include.steps.workspace import Workspace
from tests.unit.audit_case import pass_audit

DAY = "2013-11-11"
CASE = "autumn"
SMALL = ("flights/raw/first", "flights/raw/second")
KEYS = ("2013-11-02", "2013-11-03")


def attempt(step: str, number: int) -> Attempt:
    return Attempt(CASE, f"{CASE}_{step}", "disturbed", number)


def small(workspace: Workspace, number: int, value: int = 1, run_id: str = "disturbed") -> None:
    """Publish two tables of two partitions, two rows each."""
    by = Attempt("flights", f"flights_{run_id}", run_id, number)
    rows = pa.table({"id": [1, 2, 1, 2], "value": [value] * 4, "ds": [KEYS[0], KEYS[0], KEYS[1], KEYS[1]]})

    def stage() -> Stages:
        return Stages(
            folders={table: workspace.lake.stage(table, rows.to_reader(), KEYS, by, ("id",)).path for table in SMALL}
        )

    _published(workspace, by, stage, audit=False)


def ingested(workspace: Workspace, number: int, audit: bool = False) -> None:
    by = attempt("ingest", number)
    _published(workspace, by, lambda: ingest.land(workspace, Span.one(DAY), by), audit)


def computed(workspace: Workspace, number: int, audit: bool = False) -> None:
    by = attempt("features", number)
    _published(workspace, by, lambda: features.stage(workspace, Span.one(DAY), by), audit)


def materialized(workspace: Workspace, number: int) -> None:
    features.materialize(workspace, Span.one(DAY))


def scored(workspace: Workspace, number: int, audit: bool = False) -> None:
    by = attempt("score", number)
    _published(workspace, by, lambda: predicting.stage(workspace, Span.one(DAY), predicting.AS_OF_CLOCK, by), audit)


def monitored(workspace: Workspace, number: int, audit: bool = False) -> None:
    by = attempt("monitor", number)
    _published(workspace, by, lambda: monitor.stage(workspace, Span.one(DAY), by), audit)


def requested(workspace: Workspace, number: int) -> None:
    asked, reason = monitor.training_requested(workspace, DAY, "scheduled", attempt("monitor", number))
    assert asked, reason


def registered(workspace: Workspace, number: int, fitted: Fitted) -> None:
    registering.register(workspace, fitted, Attempt("flights", "flights_train", "one", number))


def promoted(workspace: Workspace, number: int, proposal: Proposal) -> None:
    deciding.promote(workspace, proposal, "auto", Attempt("flights", "flights_promote", "one", number))


def _published(workspace: Workspace, by: Attempt, stage: Callable[[], Stages], audit: bool) -> None:
    handed_on = Path(workspace.settings.work_root) / f"{by.dag_id}.json"
    if not handed_on.exists():
        stages = stage()
        handed_on.parent.mkdir(parents=True, exist_ok=True)
        handed_on.write_text(stages.model_dump_json(), encoding="utf-8")
    stages = Stages.model_validate_json(handed_on.read_text(encoding="utf-8"))
    if not audit:
        pass_audit(workspace, stages)
    elif not all(workspace.lake.open_stage(path).audit() for path in stages.folders.values()):
        publishing.audit(workspace, stages, by)
    publishing.publish(workspace, stages, by)
