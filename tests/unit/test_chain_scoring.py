"""Each prediction says which model and which features made it; equal inputs give equal rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from include.core.errors import MissingPartitions
from include.feature_store import history
from include.lake import reader
from include.promotion import ledger
from include.steps import inputs
from include.steps.score import predicting
from include.steps.workspace import Workspace
from tests.unit import chain

SCORES = "autumn/predictions/scores"
DAYS = ("2013-11-05", "2013-11-06", "2013-11-07")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return chain.copy(chain.trained(), tmp_path_factory.mktemp("scoring"))


def staged(workspace: Workspace, model: str, name: str = "again") -> dict[str, str]:
    """Fingerprint by day of the predictions of DAYS."""
    stages = predicting.stage(workspace, chain.span(DAYS[0], DAYS[-1]), model, chain.attempt(name, "autumn_score"))
    stage = workspace.lake.open_stage(stages.folders[SCORES])
    return {key: part.fingerprint for key, part in stage.partitions.items()}


def test_every_scheduled_flight_is_scored_once(workspace: Workspace) -> None:
    for day in DAYS:
        scores = chain.rows_of(workspace, SCORES, day)
        keys = list(workspace.case.predictions.key)
        schedule = chain.rows_of(workspace, "autumn/raw/schedule", day)
        assert (
            scores.select(keys)
            .sort_by([(key, "ascending") for key in keys])
            .equals(schedule.select(keys).sort_by([(key, "ascending") for key in keys]))
        )
        predicted = scores["prediction"].to_numpy()
        assert np.isfinite(predicted).all()
        assert (predicted.min() >= 0, predicted.max() <= 1) == (True, True)


def test_every_row_names_its_model_and_its_features(workspace: Workspace) -> None:
    scores = chain.rows_of(workspace, SCORES, DAYS[0])
    assert scores["model_version"].unique().to_pylist() == [1]
    wanted = inputs.wanted(workspace, "score", chain.span(DAYS[0]))
    assert scores["features_version"].unique().to_pylist() == [inputs.content_of(workspace, wanted)]
    other = chain.rows_of(workspace, SCORES, DAYS[1])
    assert other["features_version"][0] != scores["features_version"][0]


def test_the_record_names_models_and_inputs(workspace: Workspace) -> None:
    record = workspace.lake.records(SCORES, [DAYS[0]])[DAYS[0]]
    assert record.notes["models"][DAYS[0]] == 1
    assert set(record.inputs) == set(inputs.wanted(workspace, "score", chain.span(DAYS[0])))


@pytest.mark.parametrize("model", [predicting.AS_OF_CLOCK, predicting.CURRENT, "1"])
def test_however_the_model_is_named_the_same_one_gives_the_same_rows(workspace: Workspace, model: str) -> None:
    published = {key: record.fingerprint for key, record in workspace.lake.records(SCORES, DAYS).items()}
    assert staged(workspace, model) == published


def test_as_of_its_clock_each_day_has_its_own_champion_and_current_is_the_newest(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ledger.current(workspace.lake, workspace.case)
    entries = [first, replace(first, entry=2, version=2, previous=1, trained_through="2013-11-05")]
    monkeypatch.setattr(ledger, "promotions", lambda *_: entries)
    loaded = predicting.load_version(workspace, 1)
    known = predicting.model_version(workspace, 1)
    monkeypatch.setattr(predicting, "load_version", lambda workspace, version: loaded)
    monkeypatch.setattr(predicting, "model_version", lambda workspace, version: known)

    def models(model: str) -> list[int]:
        stages = predicting.stage(
            workspace, chain.span(DAYS[0], DAYS[-1]), model, chain.attempt("champions", "autumn_score")
        )
        stage = workspace.lake.open_stage(stages.folders[SCORES])
        found = versions_of(stage.parquet())
        assert stage.notes["models"] == dict(zip(DAYS, found, strict=True))
        return found

    assert models(predicting.AS_OF_CLOCK) == [1, 2, 2]
    assert models(predicting.CURRENT) == [2, 2, 2]
    assert models("1") == [1, 1, 1]


def versions_of(files: list[str]) -> list[int]:
    """Return the only model version in each file."""
    found = [pq.read_table(path, partitioning=None)["model_version"].unique().to_pylist() for path in files]
    assert all(len(versions) == 1 for versions in found)
    return [versions[0] for versions in found]


def test_a_correction_of_the_features_gives_new_rows_that_say_so(tmp_path: Path) -> None:
    workspace = chain.copy(chain.trained(), tmp_path)
    table = "autumn/features/weather_latest"
    rows = chain.rows_of(workspace, table, DAYS[0])
    column = next(field.name for field in rows.schema if pa.types.is_floating(field.type))
    changed = rows.set_column(rows.column_names.index(column), column, pc.multiply(rows[column], 2))
    assert not changed.equals(rows)
    staged_rows = workspace.lake.stage(table, changed.to_reader(), [DAYS[0]], chain.attempt("correction"), ("origin",))
    workspace.lake.publish(staged_rows, chain.attempt("correction"))
    before = {key: record.fingerprint for key, record in workspace.lake.records(SCORES, DAYS).items()}
    after = staged(workspace, predicting.AS_OF_CLOCK)
    assert {key for key in DAYS if after[key] != before[key]} == {DAYS[0]}


def test_the_log_of_each_table_is_read_once_a_stage(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: Counter[str] = Counter()

    def counting(uri: str, **options: Any) -> DeltaTable:
        opened[uri] += 1
        return DeltaTable(uri, **options)

    for module in (reader, history):
        monkeypatch.setattr(module, "DeltaTable", counting)
    staged(workspace, "as_of_clock")
    assert len(opened) > len(workspace.case.features.views)
    assert set(opened.values()) == {1}


def test_features_that_are_missing_are_named(tmp_path: Path) -> None:
    known = chain.until(chain.trained(), tmp_path, DAYS[0])
    with pytest.raises(MissingPartitions, match="autumn/features/aircraft_lately: 2013-11-05"):
        predicting.stage(known, chain.span(DAYS[0]), "1", chain.attempt("early", "autumn_score"))
