"""Metrics against their definitions; intervals against a plain resampling loop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from include.training.calibration import Isotonic
from include.training.judging.bootstrap import interval, paired_difference
from include.training.judging.metrics import metric

RNG = np.random.default_rng(5)
Y = (RNG.random(400) < 0.3).astype(float)
P = np.clip(np.round(0.3 * Y + RNG.random(400) * 0.6, 2), 0.01, 0.99)
DAYS = np.repeat(np.arange(10), 40)


def test_values_agree_with_scikit_learn() -> None:
    assert metric("log_loss").value(Y, P) == pytest.approx(log_loss(Y, P))
    assert metric("brier").value(Y, P) == pytest.approx(brier_score_loss(Y, P))
    assert metric("auc").value(Y, P) == pytest.approx(roc_auc_score(Y, P))
    assert metric("rmse").value(np.array([0.0, 2]), np.array([0.0, 4])) == pytest.approx(2**0.5)
    assert metric("mae").value(np.array([0.0, 2]), np.array([1.0, 4])) == pytest.approx(1.5)


def test_calibration_error_is_the_mean_gap_by_bin() -> None:
    y = np.array([0.0, 1, 1, 1])
    p = np.array([0.15, 0.15, 0.95, 0.95])
    assert metric("calibration_error").value(y, p) == pytest.approx((0.7 + 0.1) / 4)


def test_one_class_or_nan_has_no_auc() -> None:
    assert np.isnan(metric("auc").value(np.ones(3), np.array([0.1, 0.2, 0.3])))
    assert np.isnan(metric("auc").value(np.array([0.0, 1]), np.array([np.nan, 0.3])))


@settings(max_examples=40)
@given(st.lists(st.integers(0, 3), min_size=10, max_size=10))
def test_auc_of_a_resample_is_the_auc_of_the_repeated_rows(counts: list[int]) -> None:
    weights = np.array(counts, dtype=float)
    rows = np.repeat(np.arange(400), np.array(counts)[DAYS])
    resampled = metric("auc").reduce(Y, P, DAYS, 10)(weights[None, :])[0]
    if len(rows):
        assert resampled == pytest.approx(roc_auc_score(Y[rows], P[rows]))
    else:
        assert np.isnan(resampled)


def test_interval_covers_the_value_and_says_what_it_rests_on() -> None:
    found = interval(metric("log_loss"), Y, P, DAYS, resamples=500, seed=1)
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high
    assert (found.days, found.rows) == (10, 400)
    assert found == interval(metric("log_loss"), Y, P, DAYS, resamples=500, seed=1)


def test_days_not_rows_are_resampled() -> None:
    # all rows of a day agree, so 400 rows carry no more than ten observations
    y = (DAYS % 2).astype(float)
    wide = interval(metric("brier"), y, np.full(400, 0.4), DAYS, resamples=2000, seed=1)
    assert wide.low is not None
    assert wide.high is not None
    assert wide.high - wide.low > 0.05
    one_day = interval(metric("brier"), Y, P, np.zeros(400, dtype=np.int64), resamples=200, seed=1)
    assert (one_day.low, one_day.high) == (None, None)


def test_pairing_shows_a_small_steady_gain() -> None:
    better = P + np.where(Y > 0.5, 0.005, -0.005)
    for name in ("log_loss", "auc"):
        gain = paired_difference(metric(name), Y, better, P, DAYS, resamples=500, seed=1)
        assert gain.better
        assert not gain.worse
    none = paired_difference(metric("log_loss"), Y, P, P, DAYS, resamples=500, seed=1)
    assert (none.value, none.better, none.worse) == (0.0, False, False)


def test_isotonic_rises_and_never_claims_certainty() -> None:
    raw = np.linspace(0, 1, 200)
    calibrator = Isotonic.learn((raw > 0.5).astype(float), raw)
    calibrated = calibrator.apply(np.array([-1.0, 0.2, 0.8, 2.0]))
    # 100 rows of one outcome, drawn by ten rows of the mean 0.5
    np.testing.assert_allclose(calibrated, [5 / 110, 5 / 110, 105 / 110, 105 / 110])


def test_isotonic_helps_overconfident_predictions_and_hardly_moves_good_ones() -> None:
    rng = np.random.default_rng(2)
    chance = rng.beta(2, 5, 4000)
    y = (rng.random(4000) < chance).astype(float)
    overconfident = chance**3 / (chance**3 + (1 - chance) ** 3)
    learn, judge = slice(0, 2000), slice(2000, None)
    loss = metric("log_loss").value
    helped = Isotonic.learn(y[learn], overconfident[learn]).apply(overconfident[judge])
    assert loss(y[judge], helped) < loss(y[judge], overconfident[judge]) - 0.05
    kept = Isotonic.learn(y[learn], chance[learn]).apply(chance[judge])
    assert loss(y[judge], kept) < loss(y[judge], chance[judge]) + 0.01


def test_isotonic_survives_json(tmp_path: Path) -> None:
    calibrator = Isotonic.learn(Y, P)
    calibrator.save(tmp_path / "calibration.json")
    np.testing.assert_array_equal(Isotonic.load(tmp_path / "calibration.json").apply(P), calibrator.apply(P))
