"""Windows: their figures, their rows, and when they ask for a training."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.core import partitions
from include.core.errors import LifecycleError
from include.monitoring import drift, window_verdicts
from include.monitoring.window_verdicts import Figure, Judged
from include.spec.monitoring import DriftSpec, MonitoringSpec, QualitySpec, RetrainingRule
from include.training.interval import Interval

RNG = np.random.default_rng(11)
DAYS = np.repeat([f"2013-11-{day:02}" for day in range(1, 15)], 80)
TRUTH = RNG.uniform(0.05, 0.6, len(DAYS))
Y = (RNG.random(len(DAYS)) < TRUTH).astype(float)
RATE = np.full(len(DAYS), 0.3)


def figures(judged: Judged, spec: QualitySpec | None = None) -> dict[str, Figure]:
    return {figure.metric: figure for figure in window_verdicts.quality(judged, spec or QualitySpec())}


def test_a_good_model_violates_nothing_and_its_figures_stand_beside_the_baselines() -> None:
    found = figures(Judged(DAYS, Y, TRUTH, {"constant": RATE, "historical": TRUTH}))
    assert not any(figure.violated for figure in found.values())
    gain = found["log_loss_minus_constant"]
    assert gain.value is not None
    assert gain.low is not None
    assert gain.high is not None
    assert gain.low < gain.value < gain.high < 0
    assert found["log_loss_minus_historical"].value == 0.0
    assert found["observed_mean"].value == Y.mean()
    assert {"log_loss", "auc", "brier", "calibration_gap", "predicted_mean"} <= set(found)


@pytest.mark.parametrize(
    ("predicted", "violated"),
    [
        (TRUTH * 0.4 + 0.55, {"calibration_gap", "log_loss_minus_constant"}),
        (TRUTH * 0.1, {"calibration_gap", "log_loss_minus_constant"}),
        (TRUTH.mean() * 2 - TRUTH, {"auc", "log_loss_minus_constant"}),
    ],
    ids=["too high", "too low", "upside down"],
)
def test_a_bad_model_violates_what_is_bad_about_it(predicted: np.ndarray, violated: set[str]) -> None:
    found = figures(Judged(DAYS, Y, predicted, {"constant": RATE}))
    assert {name for name, figure in found.items() if figure.violated} == violated


def test_too_few_rows_give_figures_but_no_violation() -> None:
    found = figures(Judged(DAYS, Y, 1 - TRUTH, {"constant": RATE}), QualitySpec(min_rows=5_000))
    assert found["auc"].value is not None
    assert not any(figure.violated for figure in found.values())


def test_four_days_have_no_interval() -> None:
    four = DAYS < "2013-11-05"
    found = figures(Judged(DAYS[four], Y[four], TRUTH[four]))
    assert (found["log_loss"].low, found["calibration_gap"].high) == (None, None)


def test_one_class_has_no_auc() -> None:
    found = figures(Judged(DAYS, np.zeros(len(DAYS)), TRUTH))
    assert (found["auc"].value, found["auc"].violated) == (None, False)
    assert found["log_loss"].value is not None


def test_a_regression_is_judged_by_its_own_metrics() -> None:
    found = window_verdicts.quality(Judged(DAYS, Y, TRUTH), QualitySpec(), task="regression", metric_name="rmse")
    assert {"rmse", "mae"} <= {figure.metric for figure in found}


PROMISED = {"rmse": Interval(value=2.0, low=1.5, high=2.6, days=28, rows=99)}


def numbers(noise: float, bias: float = 0.0) -> dict[str, Figure]:
    """Judge ten days of fifty predicted numbers each, whose errors have this deviation and mean."""
    days = np.repeat([f"2013-11-{day:02}" for day in range(1, 11)], 50)
    y = np.random.default_rng(1).normal(100.0, 20.0, len(days))
    error = np.random.default_rng(2).normal(0.0, 1.0, len(days))
    judged = Judged(days, y, y + bias + noise * (error - error.mean()), promised=PROMISED)
    found = window_verdicts.quality(judged, QualitySpec(min_rows=100), task="regression", metric_name="rmse")
    return {figure.metric: figure for figure in found}


def test_a_regression_is_judged_by_what_its_evidence_promised() -> None:
    assert numbers(2.0)["rmse"].threshold == pytest.approx(2.6 + 0.5 * 2.0)
    assert [numbers(noise)["rmse"].violated for noise in (2.0, 3.4, 5.0)] == [False, False, True]
    assert numbers(2.0)["mae"].threshold is None


def test_the_mean_error_of_numbers_is_bounded_in_their_own_unit() -> None:
    assert numbers(2.0)["calibration_gap"].threshold == pytest.approx(1.0)
    assert [numbers(2.0, bias)["calibration_gap"].violated for bias in (0.5, 1.6, -1.6)] == [False, True, True]


def test_without_evidence_numbers_have_figures_and_no_verdict() -> None:
    judged = Judged(["2013-11-01"] * 200, np.arange(200.0), np.arange(200.0) + 1e6)
    found = window_verdicts.quality(judged, QualitySpec(min_rows=1), task="regression", metric_name="rmse")
    assert not any(figure.violated for figure in found)


@pytest.mark.parametrize(
    ("judged", "message"),
    [
        (Judged([], np.empty(0), np.empty(0)), "no prediction has an outcome yet"),
        (Judged(DAYS, Y, np.where(DAYS < "2013-11-02", np.nan, TRUTH)), "predictions has NaN"),
        (Judged(DAYS, Y, TRUTH, {"constant": RATE[1:]}), "constant has 1119 rows for 1120 outcomes"),
    ],
)
def test_quality_of_nothing_is_an_error(judged: Judged, message: str) -> None:
    with pytest.raises(LifecycleError, match=message):
        window_verdicts.quality(judged, QualitySpec())


def test_rows_speak_for_the_window_or_for_a_column() -> None:
    old = pa.table({"a": [0.0] * 9, "b": [0.0] * 9, "p": [0.2] * 9})
    new = pa.table({"a": [5.0] * 9, "b": [0.0] * 9, "p": [0.2] * 9})
    decided = drift.decide(drift.profile(old, ("a", "b"), (), prediction="p"), new, DriftSpec())
    figure = Figure("auc", 0.4, 0.3, 0.5, 0.55, True, 9)
    rows = window_verdicts.verdict_rows(
        "2013-11-03",
        2,
        MonitoringSpec(),
        drifts=decided,
        predictions=("p",),
        figures=[figure],
        rows=9,
        report="r.html",
    )
    assert rows.schema == window_verdicts.VERDICT_SCHEMA
    short = [(r["kind"], r["metric"], r["column"], r["violated"]) for r in rows.to_pylist()]
    assert short == [
        ("data_drift", "drift_share", None, True),
        ("data_drift", "z", "a", True),
        ("data_drift", "z", "b", False),
        ("prediction_drift", "z", None, False),
        ("quality", "auc", None, True),
    ]
    assert window_verdicts.violations(rows, "2013-11-05", RetrainingRule()) == {
        "2013-11-03": ("data_drift drift_share", "quality auc")
    }
    assert window_verdicts.violations(rows, "2013-11-05", RetrainingRule(), model_version=3) == {}
    assert window_verdicts.violations(rows, "2013-11-08", RetrainingRule()) == {}


RULE = RetrainingRule(windows=5, violations=2, cooldown_periods=14)
NEWEST = "2013-11-20"


def ask(*bad: str, run_type: str = "scheduled", through: str = "2013-10-01", last: str | None = None) -> bool:
    windows = {key: ["quality auc"] if key in bad else [] for key in partitions.key_range("2013-11-10", NEWEST)}
    return window_verdicts.training_requested(
        windows, NEWEST, RULE, run_type=run_type, trained_through=through, last_request=last
    ).requested


@pytest.mark.parametrize(
    ("bad", "requested"),
    [
        ((NEWEST,), False),
        ((NEWEST, "2013-11-19"), True),
        ((NEWEST, "2013-11-16"), True),
        ((NEWEST, "2013-11-15"), False),
        (("2013-11-19", "2013-11-18", "2013-11-17", "2013-11-16"), False),
        ((), False),
    ],
)
def test_two_of_five_windows_and_the_newest_ask(bad: tuple[str, ...], requested: bool) -> None:
    assert ask(*bad) is requested


def test_a_backfill_never_asks() -> None:
    assert not ask(NEWEST, "2013-11-19", run_type="backfill")


@pytest.mark.parametrize(
    ("last", "through", "requested"),
    [
        ("2013-11-06", "2013-10-01", True),
        ("2013-11-07", "2013-10-01", False),
        (None, "2013-11-06", True),
        (None, "2013-11-07", False),
        ("2013-11-25", "2013-10-01", False),
    ],
)
def test_the_cooldown_counts_partitions_since_request_and_training(
    last: str | None, through: str, requested: bool
) -> None:
    assert ask(NEWEST, "2013-11-19", last=last, through=through) is requested


def test_the_reason_names_windows_and_violations() -> None:
    windows = {"2013-11-19": ["quality auc"], NEWEST: ["data_drift drift_share"]}
    found = window_verdicts.training_requested(windows, NEWEST, RULE, run_type="manual", trained_through="2013-10-01")
    assert found.reason == ("2 of the last 5 windows violate: 2013-11-19, 2013-11-20; newest: data_drift drift_share")


@settings(max_examples=200)
@given(
    bad=st.sets(st.integers(0, 9)),
    run_type=st.sampled_from(["scheduled", "manual", "asset_triggered", "backfill"]),
    since=st.none() | st.integers(-3, 40),
    through=st.integers(0, 60),
)
def test_the_rule_is_what_it_says(bad: set[int], run_type: str, since: int | None, through: int) -> None:
    ago = [partitions.shift(NEWEST, -days) for days in range(61)]
    windows = {ago[days]: ["x"] for days in bad}
    found = window_verdicts.training_requested(
        windows,
        NEWEST,
        RULE,
        run_type=run_type,
        trained_through=ago[through],
        last_request=None if since is None else partitions.shift(NEWEST, -since),
    )
    cool = through >= 14 and (since is None or since >= 14)
    expected = run_type != "backfill" and 0 in bad and len(bad & {0, 1, 2, 3, 4}) >= 2 and cool
    assert found.requested is expected
