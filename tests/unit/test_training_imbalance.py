"""Rare positives: whatever is done about them, predictions are probabilities of the real world."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from include.spec.training import Imbalance
from include.training.data import split
from include.training.fit import fit_best
from include.training.imbalance import corrected, focal_inverse, treat
from include.training.model import load_model
from include.training.study.searching import search, study_name
from include.training.training_set import TrainingSet
from tests.unit.test_training_families import few
from tests.unit.training_rows import REGRESSION, model_settings, training_rows

Y = np.array([1.0, 0, 0, 0, 0, 0, 1, 0, 0, 0])


def test_undersampling_keeps_every_positive_and_knows_its_odds() -> None:
    two = Imbalance(method="undersample", negatives_per_positive=2)
    done = treat(two, Y, seed=1)
    assert done.rows is not None
    assert {0, 6} <= set(done.rows.tolist())
    assert (len(done.rows), done.odds) == (6, 2.0)
    np.testing.assert_array_equal(done.rows, treat(two, Y, seed=1).rows)
    assert treat(Imbalance(method="undersample", negatives_per_positive=9), Y, 1).rows is None


def test_weights_balance_unless_told_otherwise() -> None:
    assert treat(Imbalance(method="weights"), Y, 0).positive_weight == 4.0
    assert treat(Imbalance(method="weights", positive_weight=2.5), Y, 0).odds == 2.5


def test_odds_are_brought_back() -> None:
    p = np.array([0.01, 0.2, 0.9])
    raised = 4 * p / (4 * p + (1 - p))
    np.testing.assert_allclose(corrected(raised, 4.0), p)


@pytest.mark.parametrize("truth", [0.05, 0.3, 0.8])
def test_focal_score_is_brought_back(truth: float) -> None:
    score = np.linspace(0.001, 0.999, 9_999)
    loss = -truth * (1 - score) ** 2 * np.log(score) - (1 - truth) * score**2 * np.log(1 - score)
    best = score[[int(np.argmin(loss))]]
    assert abs(float(best[0]) - truth) > 0.01
    np.testing.assert_allclose(focal_inverse(best, 2.0), truth, atol=1e-3)


@pytest.mark.parametrize(
    ("family", "method"),
    [
        ("lightgbm", "weights"),
        ("lightgbm", "undersample"),
        ("logistic", "weights"),
        ("logistic", "undersample"),
        ("torch_mlp", "weights"),
        ("torch_mlp", "undersample"),
        ("torch_mlp", "focal"),
    ],
)
def test_every_answer_ends_near_the_true_rate_and_is_found_again(family: str, method: str, tmp_path: Path) -> None:
    rows = TrainingSet.of(training_rows(rows_a_day=80))
    settings = model_settings(trials=1, families={family: few(family)}, imbalance={"method": method})
    storage, name = f"sqlite:///{tmp_path / 'studies.db'}", study_name("flights", rows.fingerprint, settings)
    search(storage, name, rows, settings, checkpoints=tmp_path / "kept")
    kept = fit_best(storage, name, rows, settings, tmp_path / "a", use_case="flights", checkpoints=tmp_path / "kept")
    again = fit_best(storage, name, rows, settings, tmp_path / "b", use_case="flights")
    test = split(rows.table, settings).test
    predicted = load_model(kept.directory).predict(test.table)
    assert predicted.mean() == pytest.approx(test.y.mean(), abs=0.05)
    np.testing.assert_array_equal(load_model(again.directory).predict(test.table), predicted)
    assert kept.manifest.fit_value == kept.manifest.search_value


def test_what_a_family_cannot_do_is_refused_by_name() -> None:
    with pytest.raises(ValidationError, match='family "logistic" has no imbalance "focal"; torch_mlp or torch'):
        model_settings(imbalance={"method": "focal"}, families={"logistic": {}})
    with pytest.raises(ValidationError, match='imbalance "weights" is for binary labels'):
        model_settings(**REGRESSION, imbalance={"method": "weights"})
