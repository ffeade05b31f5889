"""The directory that is registered is the one that was judged, and nothing else loads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from include.core.errors import DigestMismatch, SourceError, TrainingError
from include.training.data import split
from include.training.fit import FittedModel, fit_best
from include.training.judging.evidence import MODEL, Evidence, differences
from include.training.judging.metrics import metric
from include.training.model import digest, load_model, verify
from include.training.study.searching import search, study_name
from include.training.training_set import TrainingSet
from tests.unit.training_rows import REGRESSION, model_settings, training_rows

ROWS = TrainingSet.of(training_rows())
SETTINGS = model_settings(
    trials=4,
    calibration="isotonic",
    baselines=[{"kind": "constant"}, {"kind": "historical_rate", "by": ["carrier"]}],
    slices=["carrier"],
)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> FittedModel:
    folder = tmp_path_factory.mktemp("fit")
    storage = f"sqlite:///{folder / 'studies.db'}"
    name = study_name("flights", ROWS.fingerprint, SETTINGS)
    search(storage, name, ROWS, SETTINGS)

    def reference(directory: Path, rows: pa.Table, predicted: object) -> None:
        (directory / "reference.json").write_text(str(rows.num_rows))

    return fit_best(storage, name, ROWS, SETTINGS, folder / "model", use_case="flights", write_reference=reference)


def test_evidence_is_about_the_directory_read_back(fitted: FittedModel) -> None:
    test = split(ROWS.table, SETTINGS).test
    predicted = load_model(fitted.directory, fitted.digest).predict(test.table)
    assert fitted.evidence.primary.value == pytest.approx(metric("log_loss").value(test.y, predicted))
    assert fitted.manifest.fit_value == fitted.manifest.search_value
    assert (fitted.directory / "reference.json").read_text() == "400"


def test_evidence_holds_intervals_baselines_slices_and_bins(fitted: FittedModel) -> None:
    evidence = fitted.evidence
    assert Evidence.model_validate_json((fitted.directory / "evidence.json").read_text()) == evidence
    assert list(evidence.metrics) == [
        MODEL, "model before calibration", "constant", "historical_rate(carrier)",
    ]  # fmt: skip
    assert evidence.differences["constant"]["log_loss"].better
    assert evidence.metrics["constant"]["auc"].value == 0.5
    assert (evidence.days, evidence.rows, evidence.last_day) == (10, 400, "2013-04-01")
    assert sum(one.rows for one in evidence.slices) == 400
    assert {one.value for one in evidence.slices} == {"AA", "B6", "UA"}
    assert sum(one.rows for one in evidence.reliability) == 400
    assert set(evidence.importance) == {"rate", "carrier", "noise", "gap"}
    assert evidence.importance["rate"] > evidence.importance["noise"]


def test_manifest_says_where_the_model_comes_from(fitted: FittedModel) -> None:
    manifest = json.loads((fitted.directory / "manifest.json").read_text())
    assert manifest["training_set"]["fingerprint"] == ROWS.fingerprint
    assert manifest["training_set"]["windows"]["test"]["first"] == "2013-03-23"
    assert manifest["trained_through"] == "2013-04-01"
    assert manifest["features"][0] == {"name": "carrier", "categories": ["AA", "B6", "UA"]}
    assert set(manifest["libraries"]) >= {"lightgbm", "scikit-learn"}


def test_batches_and_column_order_do_not_change_predictions(fitted: FittedModel) -> None:
    model = load_model(fitted.directory)
    rows = ROWS.table.slice(0, 100)
    turned = rows.select(rows.column_names[::-1])
    streamed = [model.predict(batch) for batch in turned.to_batches(max_chunksize=33)]
    np.testing.assert_array_equal(np.concatenate(streamed), model.predict(rows))


def test_changed_file_is_refused_before_it_is_read(fitted: FittedModel) -> None:
    verify(fitted.directory, fitted.digest)
    extra = fitted.directory / "model" / "extra.txt"
    extra.write_text("")
    try:
        with pytest.raises(DigestMismatch, match="they were changed after registration"):
            load_model(fitted.directory, fitted.digest)
    finally:
        extra.unlink()
    assert digest(fitted.directory) == fitted.digest


def test_rows_without_the_features_are_refused_by_name(fitted: FittedModel) -> None:
    model = load_model(fitted.directory)
    with pytest.raises(SourceError, match="needs features rate, gap, which the rows lack"):
        model.predict(ROWS.table.drop(["gap", "rate"]))
    at = ROWS.table.column_names.index("rate")
    with pytest.raises(SourceError, match="feature rate was a number in training, here it is string"):
        model.predict(ROWS.table.set_column(at, "rate", ROWS.table["ds"]))


def test_directory_that_is_no_model_is_refused(fitted: FittedModel, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="is not a model directory"):
        load_model(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": 1}')
    with pytest.raises(TrainingError, match="is not a manifest of this version"):
        load_model(tmp_path)


def test_model_compared_with_itself_differs_by_nothing(fitted: FittedModel) -> None:
    model = load_model(fitted.directory)
    test = split(ROWS.table, SETTINGS).test
    found = differences(test, model.predict(test.table), model.predict(test.table), SETTINGS)
    assert all(one.value == 0 and not one.better and not one.worse for one in found.values())


def test_regression_goes_the_same_way(tmp_path: Path) -> None:
    settings = model_settings(**REGRESSION, trials=3, label_range=(-10, None))
    storage = f"sqlite:///{tmp_path / 'studies.db'}"
    name = study_name("flights", ROWS.fingerprint, settings)
    search(storage, name, ROWS, settings)
    fitted = fit_best(storage, name, ROWS, settings, tmp_path / "model", use_case="flights")
    assert fitted.evidence.differences["constant"]["rmse"].better
    assert fitted.manifest.calibration == "none"
    loaded = load_model(fitted.directory, fitted.digest)
    raw, predicted = loaded.predict_raw(ROWS.table), loaded.predict(ROWS.table)
    assert raw.min() < -10
    np.testing.assert_array_equal(predicted, np.maximum(raw, -10))
    with pytest.raises(TrainingError, match="already holds a model"):
        fit_best(storage, name, ROWS, settings, tmp_path / "model", use_case="flights")


def test_unfinished_or_foreign_study_is_not_fitted(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'studies.db'}"
    name = study_name("flights", ROWS.fingerprint, SETTINGS)
    search(storage, name, ROWS, SETTINGS, trials=1)
    other = TrainingSet.of(training_rows(seed=9))
    with pytest.raises(TrainingError, match="does not belong to training set"):
        fit_best(storage, name, other, SETTINGS, tmp_path / "model", use_case="flights")
