"""A range of partitions gives what its days give one by one, and nothing is published twice."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from include.core import partitions
from include.feature_store import feast_store
from include.steps import features, ingest
from include.steps.handover import Stages
from include.steps.score import predicting, streaming
from include.steps.train import training_sets
from include.steps.workspace import Workspace
from tests.unit import chain

DAYS = ("2013-11-02", "2013-11-03", "2013-11-04")


def staged(workspace: Workspace, stages: Stages) -> dict[tuple[str, str], str]:
    """Content by table and partition of stages that need not be published."""
    opened = [workspace.lake.open_stage(path) for path in stages.folders.values()]
    return {(stage.table, key): part.fingerprint for stage in opened for key, part in stage.partitions.items()}


def test_landing_a_range_is_landing_its_days(tmp_path: Path) -> None:
    workspace = Workspace(chain.settings_in(tmp_path), chain.autumn())
    whole = chain.fingerprints(chain.landed().lake)
    for day in DAYS:
        found = staged(workspace, ingest.land(workspace, chain.span(day), chain.attempt(day)))
        assert found == {name: whole[name] for name in found}
        # every raw table and the quarantine, whose rows of reference tables are a partition of their own
        assert len(found) == len(workspace.case.raw) + 2


def test_rows_of_reference_tables_in_quarantine_belong_to_no_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(chain.settings_in(tmp_path), chain.autumn())
    suites_of = ingest.suites_of
    rule = {"name": "gone", "when": "carrier = '9E'", "reason": "flies no more"}

    def with_rule(workspace: Workspace, names: tuple[str, ...]):
        suites = suites_of(workspace, names)
        airlines = suites["airlines"]
        return {**suites, "airlines": airlines.model_validate({**airlines.model_dump(), "quarantine": [rule]})}

    monkeypatch.setattr(ingest, "suites_of", with_rule)
    together = staged(workspace, ingest.land(workspace, chain.span(DAYS[0], DAYS[-1]), chain.attempt()))
    for day in DAYS:
        alone = staged(workspace, ingest.land(workspace, chain.span(day), chain.attempt(day)))
        assert alone == {name: together[name] for name in alone}


@pytest.mark.parametrize("day", DAYS)
def test_features_of_a_range_are_those_of_its_days(day: str) -> None:
    workspace = chain.landed()
    whole = chain.fingerprints(workspace.lake, day)
    found = staged(workspace, features.stage(workspace, chain.span(day), chain.attempt(day, "autumn_features")))
    assert found == {name: whole[name] for name in found}
    assert len(found) == len(workspace.case.features.views)


def test_predictions_of_a_range_are_those_of_its_days() -> None:
    workspace = chain.trained()
    whole = chain.fingerprints(workspace.lake)
    day = partitions.shift(chain.AS_OF, 2)
    found = staged(
        workspace,
        predicting.stage(workspace, chain.span(day), predicting.AS_OF_CLOCK, chain.attempt(day, "autumn_score")),
    )
    assert found == {name: whole[name] for name in found}


def test_a_range_scored_in_several_runs_is_the_range_scored_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = chain.trained()
    days = partitions.key_range(chain.AS_OF, chain.LAST)
    rows = {day: chain.rows_of(workspace, "autumn/raw/schedule", day).num_rows for day in days}
    monkeypatch.setattr(streaming, "ROWS_AT_ONCE", rows[days[0]] + rows[days[1]])
    asked, held, look_up = [], [], feast_store.historical_features

    def one_run(store: Any, service: str, entities: pa.Table) -> pa.Table:
        # what the run before was scored from has been let go
        assert [reference() for reference in held] == [None] * len(asked)
        found = look_up(store, service, entities)
        asked.append(tuple(entities["ds"].unique().to_pylist()))
        held.append(weakref.ref(found))
        return found

    monkeypatch.setattr(feast_store, "historical_features", one_run)
    found = staged(
        workspace,
        predicting.stage(workspace, chain.span(days[0], days[-1]), predicting.AS_OF_CLOCK, chain.attempt("in runs")),
    )
    whole = chain.fingerprints(workspace.lake)
    assert found == {name: whole[name] for name in found}
    assert asked[0] == days[:2]
    assert len(asked) > 2
    assert sum(asked, ()) == days
    assert all(sum(rows[day] for day in run) <= streaming.ROWS_AT_ONCE for run in asked if len(run) > 1)


def test_a_day_scored_in_parts_is_the_day_scored_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, day = chain.trained(), chain.AS_OF
    monkeypatch.setattr(streaming, "ROWS_AT_ONCE", 100)
    asked, look_up = [], feast_store.historical_features

    def one_part(store: Any, service: str, entities: pa.Table) -> pa.Table:
        asked.append(entities.num_rows)
        return look_up(store, service, entities)

    monkeypatch.setattr(feast_store, "historical_features", one_part)
    by = chain.attempt("in parts", "autumn_score")
    found = staged(workspace, predicting.stage(workspace, chain.span(day), predicting.AS_OF_CLOCK, by))
    assert found == {name: chain.fingerprints(workspace.lake, day)[name] for name in found}
    rows = chain.rows_of(workspace, "autumn/raw/schedule", day).num_rows
    assert asked == [100] * (rows // 100) + [rows % 100]


def test_every_step_run_again_publishes_nothing(tmp_path: Path) -> None:
    workspace = chain.copy(chain.trained(), tmp_path)
    before = chain.versions(workspace.lake)
    again, first = chain.attempt("again"), partitions.shift(chain.AS_OF, -1)
    landed = ingest.land(workspace, chain.span(first, chain.LAST), again)
    assert set(chain.publish(workspace, landed, again).changed.values()) == {0}
    chain.compute_features(workspace, first, chain.LAST, again)
    training_sets.freeze(workspace, chain.AS_OF, again)
    chain.score(workspace, chain.AS_OF, chain.LAST, again)
    assert chain.versions(workspace.lake) == before
