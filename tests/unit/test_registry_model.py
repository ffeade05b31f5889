"""A real model through the registry: described, registered, loaded without pickle, with its reference."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"

import mlflow
from mlflow import MlflowClient

from include.core.errors import LifecycleError
from include.monitoring import drift, reference
from include.registry import model_versions
from include.spec.families import Dimension, Fixed, Searched
from include.spec.monitoring import DriftSpec
from include.spec.training import load_settings
from include.steps.train.challenger import describe
from include.training.data import split
from include.training.families import family
from include.training.families.base import Fitting
from include.training.fit import FittedModel
from include.training.judging.evidence import evaluate
from include.training.judging.metrics import metric
from include.training.model import LoadedModel, Manifest, TrainingSetRecord, digest, load_model, save_model
from include.training.training_set import TrainingSet
from tests.unit import signing_case

SETTINGS = load_settings(
    {
        "label": "late",
        "families": {"logistic": {}},
        "categorical": ["carrier"],
        "valid_periods": 5,
        "test_periods": 5,
        "resamples": 100,
        "baselines": [{"kind": "constant"}, {"kind": "historical_rate", "by": ["carrier", "hour"]}],
    }
)


def flights(shift: int = 0) -> pa.Table:
    rng = np.random.default_rng(2)
    n = 600
    hour = rng.integers(5, 20, n) + shift
    return pa.table(
        {
            "ds": [f"2013-10-{1 + i // 30:02}" for i in range(n)],
            "carrier": rng.choice(["UA", "AA"], n),
            "hour": hour,
            "wind": pa.array(rng.normal(size=n), mask=rng.random(n) < 0.1),
            "late": rng.random(n) < hour / 30,
        }
    )


def first_tried(dimension: Dimension) -> Any:
    if isinstance(dimension, Fixed):
        return dimension.value
    return dimension.start if isinstance(dimension, Searched) else dimension.options[0]


@pytest.fixture
def fitted(tmp_path: Path) -> tuple[FittedModel, TrainingSet]:
    rows = TrainingSet.of(flights(), "/lake/flights/training/training_set", 4)
    windows = split(rows.table, SETTINGS)
    fitting = Fitting("binary", metric("log_loss"))
    kind = family("logistic")
    params = {name: first_tried(dimension) for name, dimension in SETTINGS.space("logistic").items()}
    prepared = kind.prepare(windows.train, windows.valid, SETTINGS.space("logistic"), fitting)
    manifest = Manifest(
        use_case="flights",
        task="binary",
        label="late",
        family="logistic",
        params=params,
        features=windows.encoding.features,
        calibration="none",
        training_set=TrainingSetRecord(fingerprint=rows.fingerprint, uri=rows.uri, version=rows.version, windows={}),
        trained_through="2013-10-20",
        seed=0,
        threads=1,
        study="flights-1",
        trial=3,
        metric="log_loss",
        search_value=0.6,
        fit_value=0.6,
        libraries={"numpy": np.__version__},
        settings={},
    )
    model = LoadedModel(manifest, kind.fit(params, prepared, fitting), None)
    folder = tmp_path / "model"
    save_model(model, folder)
    reference.write_reference(folder, windows.test.table, model.predict(windows.test.table))
    evidence = evaluate(model, windows, SETTINGS)
    return FittedModel(folder, digest(folder), manifest, evidence), rows


def test_a_registered_model_loads_through_mlflow_and_predicts_the_same(
    fitted: tuple[FittedModel, TrainingSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    MlflowClient(store).create_experiment("flights", artifact_location=str(tmp_path / "artifacts"))
    challenger = describe(
        *fitted,
        [{"number": 3}],
        training_set_name="flights training_set",
        code_version="c0ffee",
        dag_run_id="manual__1",
        output="probability",
    )
    version = model_versions.register(store, challenger, signing_case.signer())
    run = MlflowClient(store).get_run(version.run_id)
    assert run.data.metrics["log_loss.low"] < run.data.metrics["log_loss"]
    assert run.data.metrics["historical_rate carrier hour/log_loss"] > 0
    assert run.data.params["logistic.max_iter"] == str(fitted[0].manifest.params["max_iter"])

    rows = flights().select(["carrier", "hour", "wind"])
    fetched = model_versions.fetch(store, "flights", 1, tmp_path / "cache", signing_case.trusted())
    ours = load_model(fetched, version.digest)
    monkeypatch.setenv("LIFECYCLE_TRUSTED_KEYS", signing_case.shared()["trusted_keys"])
    mlflow.set_tracking_uri(store)
    try:
        theirs = mlflow.pyfunc.load_model("models:/flights/1")
    finally:
        mlflow.set_tracking_uri(None)
    np.testing.assert_array_equal(theirs.predict(rows.to_pandas()), ours.predict(rows))


def test_the_reference_in_the_model_directory_judges_later_days(
    fitted: tuple[FittedModel, TrainingSet],
) -> None:
    folder = fitted[0].directory
    found = reference.read_reference(folder)
    assert set(found.profile.columns) == {"hour", "wind", "carrier", "prediction"}
    assert found.profile.rows == found.sample.num_rows == 150
    test = flights().slice(450)
    assert found.profile.label_rate == np.mean(test["late"].to_numpy())
    model = load_model(folder)
    for rows, drifted in ((test, set()), (flights(shift=4).slice(450), {"hour", "prediction"})):
        rows = rows.append_column("prediction", pa.array(model.predict(rows)))
        verdicts = drift.decide(found.profile, rows, DriftSpec())
        assert {verdict.column for verdict in verdicts if verdict.drifted} == drifted


def test_a_model_without_reference_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LifecycleError, match=r"no readable reference.*train the model again"):
        reference.read_reference(tmp_path)
