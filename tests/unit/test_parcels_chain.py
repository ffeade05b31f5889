"""Every step for a use case of several classes and weekly partitions, with a key of two texts beyond ASCII."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from mlflow import MlflowClient

from include.core import partitions
from include.core.partitions import Span
from include.lake.records import Attempt
from include.spec.use_case import UseCase
from include.steps import features, ingest, monitor, publishing
from include.steps.handover import Proposal, Registered, Stages
from include.steps.plan import planning
from include.steps.promote import deciding
from include.steps.score import predicting
from include.steps.train import model_card, rebuild, registering, search, training_sets
from include.steps.train.search import search_here
from include.steps.workspace import Workspace
from tests.unit import shop_case
from tests.unit.folder_case import load_from

FIRST, AS_OF, LAST = "2023-W36", "2024-W18", "2024-W25"
CLASSES = ("late", "lost", "on time")
A_WEEK = 3 * 30
SCORES = "parcels/predictions/scores"


def by(step: str, name: str = "first") -> Attempt:
    return Attempt("parcels", f"parcels_{step}", name)


def audited(there: Workspace, step: str, stages: Stages) -> None:
    publishing.audit(there, stages, by(step))
    publishing.publish(there, stages, by(step))


def train(there: Workspace, as_of: str) -> Registered:
    frozen = training_sets.freeze(there, as_of, by("train", as_of))
    search_here(there, frozen)
    return registering.register(there, search.fit(there, frozen, by("train", as_of)), by("train", as_of))


@pytest.fixture(scope="module")
def case() -> UseCase:
    return load_from(shop_case.FOLDER, "parcels")


@pytest.fixture(scope="module")
def proposed() -> list[Proposal]:
    return []


@pytest.fixture(scope="module")
def there(case: UseCase, proposed: list[Proposal], tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Return the lake after every step of the chain."""
    folder = tmp_path_factory.mktemp("parcels")
    there = shop_case.workspace(folder, case)
    whole = Span(first=FIRST, last=LAST)
    audited(there, "ingest", ingest.land(there, whole, by("ingest")))
    audited(there, "features", features.stage(there, whole, by("features")))
    features.materialize(there, whole)
    client = MlflowClient(there.settings.mlflow_tracking_uri)
    client.create_experiment("parcels", artifact_location=str(folder / "files"))
    train(there, AS_OF)
    proposed.append(deciding.propose(there, None, by("promote")))
    assert proposed[0].change, proposed[0]
    deciding.promote(there, proposed[0], "auto", by("promote"))
    scored = Span(first=AS_OF, last=LAST)
    audited(there, "score", predicting.stage(there, scored, predicting.AS_OF_CLOCK, by("score")))
    audited(there, "monitor", monitor.stage(there, Span.one(LAST), by("monitor")))
    return there


def test_the_training_set_ends_four_weeks_before_its_clock(there: Workspace) -> None:
    rows = training_sets.load(training_sets.freeze(there, AS_OF, by("train", AS_OF))).table
    weeks = sorted(rows["week"].unique().to_pylist())
    assert (weeks[0], weeks[-1]) == (partitions.shift(FIRST, 8), "2024-W14")
    assert {"2023-W52", "2024-W01"} <= set(weeks)
    assert rows.num_rows == len(weeks) * A_WEEK
    assert {"kilos", "service", "late_share_4w", "lost_share_4w", "state", "depot"} <= set(rows.column_names)


def test_a_score_is_the_most_likely_class_with_the_probability_of_each(there: Workspace) -> None:
    scores = there.lake.dataset(SCORES).to_table()
    assert scores.num_rows == len(partitions.key_range(AS_OF, LAST)) * A_WEEK
    assert set(scores["depot"].to_pylist()) == {"Malmö", "Łódź", "Ἀθῆναι"}
    for row in scores.to_pylist():
        said = json.loads(row["probabilities"])
        assert tuple(said) == CLASSES
        assert sum(said.values()) == pytest.approx(1, abs=1e-9)
        assert said[row["prediction"]] == row["probability"] == max(said.values())
    known = {
        (row["week"].isoformat(), row["depot"], row["parcel"]): row["state"]
        for row in there.lake.dataset("parcels/raw/arrivals").to_table().to_pylist()
    }
    found = [
        row["prediction"] == known[at]
        for row in scores.to_pylist()
        if (at := (partitions.parse(row["ds"]).isoformat(), row["depot"], row["parcel"])) in known
    ]
    assert len(found) == 4 * A_WEEK
    assert np.mean(found) > 0.5


def test_the_monitor_judges_classes_when_their_outcomes_are_there(there: Workspace) -> None:
    rows = there.lake.dataset("parcels/monitoring/verdicts", [LAST]).to_table()
    figures = {row["metric"]: row for row in rows.filter(pc.equal(rows["kind"], "quality")).to_pylist()}
    # of the newest three weeks with complete outcomes
    assert figures["log_loss"]["n"] == figures["accuracy"]["n"] == 3 * A_WEEK
    assert figures["accuracy"]["threshold"] == 0.4
    recalls = {name: figures[f"recall({name})"] for name in CLASSES}
    assert sum(row["n"] for row in recalls.values()) == 3 * A_WEEK
    assert {name: row["threshold"] for name, row in recalls.items()} == {"late": 0.2, "lost": None, "on time": 0.5}
    assert figures["log_loss_minus_constant"]["value"] < 0
    drifts = rows.filter(pc.equal(rows["kind"], "prediction_drift")).to_pylist()
    assert {row["column"]: row["n"] for row in drifts} == {None: 2 * A_WEEK, "probability": 2 * A_WEEK}
    report = Path(rows["report"][0].as_py()).read_text(encoding="utf-8")
    assert "prediction" in report


def test_the_evidence_and_the_card_show_each_class(there: Workspace, proposed: list[Proposal]) -> None:
    client = MlflowClient(there.settings.mlflow_tracking_uri)
    run = client.get_run(client.get_model_version("parcels", "1").run_id)
    assert {"log_loss", "auc_macro", "accuracy", "recall_macro", "constant/log_loss"} <= set(run.data.metrics)
    folder = Path(run.info.artifact_uri)
    evidence = json.loads((folder / "evidence.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in evidence["classes"]] == list(CLASSES)
    assert sum(one["rows"] for one in evidence["classes"]) == evidence["rows"] == 8 * A_WEEK
    assert set(evidence["differences"]) == {"constant", "historical_rate(depot)"}
    card = (folder / model_card.FOLDER / model_card.HTML).read_text(encoding="utf-8")
    assert "predicted share" in card
    assert "state (multiclass: late, lost, on time)" in card
    assert "recall_macro" in proposed[0].evidence


def test_online_values_are_those_of_the_last_week(there: Workspace) -> None:
    from include.feature_store import feast_store

    clock = partitions.clock(LAST, there.case.time_zone)
    asked = {"depot": ["Ἀθῆναι", "nowhere"]}
    found = feast_store.online_features(features.store(there), there.case.features.service, asked, clock).to_pylist()
    published = there.lake.dataset("parcels/features/depot_lately", [LAST]).to_table().to_pylist()
    (share,) = [row["lost_share_4w"] for row in published if row["depot"] == "Ἀθῆναι"]
    assert [row["lost_share_4w"] for row in found] == [share, None]


def test_nothing_is_stale_after_the_chain(there: Workspace) -> None:
    assert planning.make(there).empty


def test_mlflow_loads_it_with_one_column_a_class(there: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.setenv("LIFECYCLE_TRUSTED_KEYS", str(there.settings.trusted_keys))
    mlflow.set_tracking_uri(there.settings.mlflow_tracking_uri)
    try:
        model = mlflow.pyfunc.load_model("models:/parcels/1")
    finally:
        mlflow.set_tracking_uri(None)
    assert model.metadata.get_output_schema().input_names() == list(CLASSES)
    rows = predicting.entity_rows(there, Span.one(LAST))
    frame = model.predict(rows.select(model.metadata.get_input_schema().input_names()).to_pandas())
    assert list(frame.columns) == list(CLASSES)
    np.testing.assert_allclose(frame.sum(axis=1), 1)


def test_a_second_model_is_compared_with_the_first_on_the_same_rows(there: Workspace) -> None:
    proposal = deciding.propose(there, train(there, "2024-W20").version, by("promote", "second"))
    verdict = json.loads(proposal.evidence)
    assert (verdict["n_rows"], verdict["n_days"]) == (8 * A_WEEK, 8)
    assert verdict["value"] - verdict["champion_value"] == pytest.approx(verdict["difference"])
    # the test window of the second ends two weeks later
    assert verdict["low"] < verdict["difference"] < verdict["high"]


def test_scoring_again_publishes_nothing_and_the_training_set_is_made_again(there: Workspace) -> None:
    before = there.lake.version(SCORES)
    again = predicting.stage(there, Span.one(LAST), predicting.AS_OF_CLOCK, by("score", "again"))
    audited(there, "score", again)
    assert there.lake.version(SCORES) == before
    assert rebuild.rebuild_of_model(there, 1)
