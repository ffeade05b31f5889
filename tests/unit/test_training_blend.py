"""A blend is kept only when it is better on days its weights have not seen."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from include.training import fit as fits
from include.training.blend import Choice, choose, greedy
from include.training.data import split
from include.training.fit import fit_best
from include.training.judging.metrics import metric
from include.training.model import load_model
from include.training.study.searching import search, study_name
from include.training.training_set import TrainingSet
from tests.unit.training_rows import model_settings, training_rows

RNG = np.random.default_rng(0)
LOG_LOSS = metric("log_loss")
DAYS = np.repeat(np.arange(28), 200)
CHANCE = RNG.uniform(0.05, 0.95, len(DAYS))
Y = (RNG.random(len(DAYS)) < CHANCE).astype(float)


def _noisy(seed: int) -> np.ndarray:
    logit = np.log(CHANCE / (1 - CHANCE)) + np.random.default_rng(seed).normal(scale=1.0, size=len(DAYS))
    return 1 / (1 + np.exp(-logit))


def test_models_that_err_apart_are_blended() -> None:
    choice = choose(LOG_LOSS, Y, [_noisy(1), _noisy(2), _noisy(3)], DAYS, resamples=200, seed=0)
    assert choice.better
    assert choice.difference.high is not None
    assert choice.difference.high < 0
    assert sum(choice.weights) == pytest.approx(1)
    assert min(choice.weights) > 0.2


def test_copies_of_one_model_are_not() -> None:
    one = _noisy(1)
    choice = choose(LOG_LOSS, Y, [one, one.copy()], DAYS, resamples=200, seed=0)
    assert not choice.better


def test_useless_model_gets_no_weight_and_an_undefined_metric_changes_nothing() -> None:
    assert greedy(LOG_LOSS, Y, [CHANCE, 1 - CHANCE]) == (1.0, 0.0)
    assert greedy(metric("auc"), np.ones(3), [np.array([0.1, 0.2, 0.3]), np.array([0.3, 0.2, 0.1])]) == (1.0, 0.0)


@pytest.mark.parametrize("keep", [True, False])
def test_blend_is_written_as_ordinary_models_and_predicts_their_mean(
    keep: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = TrainingSet.of(training_rows())
    settings = model_settings(trials=4, ensemble="greedy", pruner="none", calibration="isotonic")
    storage, name = f"sqlite:///{tmp_path / 'studies.db'}", study_name("flights", rows.fingerprint, settings)
    kept = tmp_path / "checkpoints" if keep else None
    search(storage, name, rows, settings, checkpoints=kept)
    if keep:
        monkeypatch.setattr(fits, "family", lambda _: pytest.fail("fitted again what was kept"))

    def always(*arguments: object, **options: object) -> Choice:
        found = choose(*arguments, **options)  # type: ignore[arg-type]
        return Choice((0.75, 0.25, 0.0, 0.0), found.difference.model_copy(update={"better": True}))

    monkeypatch.setattr(fits, "choose", always)
    fitted = fit_best(storage, name, rows, settings, tmp_path / "model", use_case="flights", checkpoints=kept)
    assert fitted.manifest.family == "blend"
    assert sorted(fitted.manifest.params.values()) == [0.25, 0.75]
    assert fitted.manifest.blend is not None
    model = load_model(tmp_path / "model", fitted.digest)
    test = split(rows.table, settings).test
    members = [load_model(tmp_path / "model" / "model" / f"member-{i}") for i in range(2)]
    expected = 0.75 * members[0].predict(test.table) + 0.25 * members[1].predict(test.table)
    np.testing.assert_allclose(model.predict_raw(test.table), expected)
    assert sum(model.importance().values()) == pytest.approx(1)


def test_blend_that_is_no_better_leaves_the_best_trial(tmp_path: Path) -> None:
    rows = TrainingSet.of(training_rows())
    settings = model_settings(trials=2, ensemble="greedy", families={"logistic": {"penalty": [0.05, 0.051]}})
    storage, name = f"sqlite:///{tmp_path / 'studies.db'}", study_name("flights", rows.fingerprint, settings)
    search(storage, name, rows, settings, checkpoints=tmp_path / "kept")
    fitted = fit_best(
        storage, name, rows, settings, tmp_path / "model", use_case="flights", checkpoints=tmp_path / "kept"
    )
    assert fitted.manifest.family == "logistic"
    assert fitted.manifest.fit_value == fitted.manifest.search_value
    assert json.loads((tmp_path / "model" / "manifest.json").read_text())["blend"]["better"] is False
