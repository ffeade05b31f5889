"""Scoring real flights with the offset of each day: the same alone and in a range, and by nothing later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from include.core import partitions
from include.core.errors import MissingPartitions, TrainingError
from include.feature_store import feast_store
from include.spec.scoring import RecalibrationSpec, ScoringSpec
from include.steps import features, inputs, publishing
from include.steps.score import predicting, recalibration, streaming
from include.steps.train import rebuild, training_sets
from include.steps.workspace import Workspace
from tests.unit import chain

SPEC = RecalibrationSpec(window_periods=5, min_rows=500)
SCORES, STATES = "autumn/predictions/scores", "autumn/predictions/recalibration"
DAY = "2013-11-08"
LEARNT_FROM = partitions.key_range("2013-11-01", "2013-11-07")


def asking(workspace: Workspace) -> Workspace:
    """Return the workspace of a use case whose spec asks for the offset."""
    return Workspace(workspace.settings, workspace.case.model_copy(update={"scoring": ScoringSpec(recalibration=SPEC)}))


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Three days scored in one range, audited by the shipped suites."""
    there = asking(chain.copy(chain.trained(), tmp_path_factory.mktemp("scored") / "copy"))
    by = chain.attempt("shifted", "autumn_score")
    stages = predicting.stage(there, chain.span("2013-11-07", "2013-11-09"), predicting.AS_OF_CLOCK, by)
    assert sorted(stages.folders) == [STATES, SCORES]
    publishing.audit(there, stages, by)
    publishing.publish(there, stages, by)
    return there


def predictions(workspace: Workspace, day: str) -> pa.Table:
    return chain.rows_of(workspace, SCORES, day).sort_by(
        [(name, "ascending") for name in workspace.case.predictions.key]
    )


def test_each_day_is_shifted_by_what_its_window_taught(scored: Workspace) -> None:
    (state,) = chain.rows_of(scored, STATES, DAY).to_pylist()
    assert (state["first"], state["last"], state["model_version"]) == ("2013-11-02", "2013-11-06", 1)
    assert state["rows"] > 4_000
    assert state["offset"] != 0
    plain = predictions(chain.trained(), DAY)["prediction"].to_numpy()
    shifted = predictions(scored, DAY)["prediction"].to_numpy()
    assert np.array_equal(shifted, recalibration.apply(plain, state["offset"]))


def test_a_day_alone_gives_what_the_range_gave(scored: Workspace) -> None:
    before = chain.fingerprints(scored.lake, DAY)
    chain.score(scored, DAY, DAY, chain.attempt("alone", "autumn_score"))
    assert chain.fingerprints(scored.lake, DAY) == before


def test_a_range_in_runs_of_a_day_gives_what_it_gave_at_once(
    scored: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = ("2013-11-07", "2013-11-08", "2013-11-09")
    before = {name: found for name, found in chain.fingerprints(scored.lake).items() if name[1] in days}
    asked, look_up = [], feast_store.historical_features

    def one_run(store: Any, service: str, entities: pa.Table) -> pa.Table:
        asked.append(entities["ds"].unique().to_pylist())
        return look_up(store, service, entities)

    monkeypatch.setattr(feast_store, "historical_features", one_run)
    # no two days fit together, and none of them is cut
    rows = [chain.rows_of(scored, "autumn/raw/schedule", day).num_rows for day in (*LEARNT_FROM, *days)]
    monkeypatch.setattr(streaming, "ROWS_AT_ONCE", max(rows))
    stages = predicting.stage(
        scored, chain.span(days[0], days[-1]), predicting.AS_OF_CLOCK, chain.attempt("in runs", "autumn_score")
    )
    opened = [scored.lake.open_stage(path) for path in stages.folders.values()]
    found = {(stage.table, key): part.fingerprint for stage in opened for key, part in stage.partitions.items()}
    assert found == {name: before[name] for name in found}
    # the days that offsets are learnt from, each once, then those that are scored
    assert asked == [[day] for day in (*LEARNT_FROM, *days)]


def test_an_offset_learnt_in_parts_of_days_is_the_offset_learnt_at_once(
    scored: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = chain.fingerprints(scored.lake, DAY)
    monkeypatch.setattr(streaming, "ROWS_AT_ONCE", 400)
    chain.score(scored, DAY, DAY, chain.attempt("in parts", "autumn_score"))
    assert chain.fingerprints(scored.lake, DAY) == before


def test_nothing_that_became_known_after_the_clock_matters(scored: Workspace, tmp_path: Path) -> None:
    known = asking(chain.until(chain.landed(), tmp_path / "known", DAY))
    first = recalibration.window(DAY, scored.case, SPEC).first
    # MLflow is that of the trained lake; the ledger is not there, so the version is named
    known = Workspace(
        known.settings.model_copy(update={"mlflow_tracking_uri": scored.settings.mlflow_tracking_uri}), known.case
    )
    chain.compute_features(known, first, DAY, chain.attempt("features", "autumn_features"))
    features.apply_definitions(known)
    chain.score(known, DAY, DAY, chain.attempt("score", "autumn_score"), model="1")
    assert chain.rows_of(known, STATES, DAY) == chain.rows_of(scored, STATES, DAY)
    assert predictions(known, DAY)["prediction"] == predictions(scored, DAY)["prediction"]


def test_scoring_waits_for_the_days_that_it_learns_from(scored: Workspace) -> None:
    wanted = inputs.wanted(scored, "score", chain.span(DAY))
    assert set(wanted["autumn/features/calendar"]) == set(partitions.key_range("2013-11-02", DAY))
    plain = inputs.wanted(chain.trained(), "score", chain.span(DAY))
    assert plain["autumn/features/calendar"] == (DAY,)


def test_an_unpublished_day_of_the_window_is_named(tmp_path: Path) -> None:
    known = asking(chain.until(chain.landed(), tmp_path / "known", DAY))
    chain.compute_features(known, DAY, DAY, chain.attempt("features", "autumn_features"))
    with pytest.raises(MissingPartitions, match="2013-11-02"):
        predicting.stage(known, chain.span(DAY), "1", chain.attempt("score", "autumn_score"))


def test_a_models_training_set_is_made_again_from_its_record() -> None:
    found = rebuild.rebuild_of_model(chain.trained(), 1)
    (table,) = training_sets.tables_of_day(chain.trained(), chain.AS_OF)
    assert found == chain.trained().lake.records(table)[chain.AS_OF].fingerprint


def test_rebuilding_what_is_not_there_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Workspace, "open", lambda _: chain.trained())
    with pytest.raises(TrainingError, match="has no version 99"):
        training_sets.rebuild(chain.trained(), chain.trained().case.training_table(chain.AS_OF, "ab"), 99)
    assert rebuild.main(["--use-case", "autumn"]) == 1
    assert "give either --model, or --as-of and --version" in capsys.readouterr().err
    assert rebuild.main(["--use-case", "autumn", "--model", "7"]) == 1
    assert "version 7 is not registered" in capsys.readouterr().err
    assert rebuild.main(["--use-case", "autumn", "--model", "1"]) == 0
    assert "the same rows again" in capsys.readouterr().out
