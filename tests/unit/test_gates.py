"""A challenger is promoted when whole days say that it is better, and only then."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from include.core.errors import TrainingError
from include.promotion.gates import TestRows, Verdict, judge
from include.promotion.guardrails import baseline_guardrails, cost_guardrails, feature_guardrails
from include.spec.gates import Bound, CostGate, GateSpec, SliceGate
from include.training.interval import Difference
from include.training.judging.leakage import Probe

SPEC = GateSpec(resamples=300)
DAYS = np.repeat([f"2013-10-{day:02}" for day in range(1, 29)], 100)
RNG = np.random.default_rng(5)
TRUTH = RNG.uniform(0.05, 0.6, len(DAYS))
Y = (RNG.random(len(DAYS)) < TRUTH).astype(float)
FLAT = np.full(len(DAYS), Y.mean())


def test_without_a_champion_the_challenger_is_promoted() -> None:
    verdict = judge(TestRows(DAYS, Y, FLAT), SPEC)
    assert verdict.promote
    assert verdict.reason == "there is no champion yet"
    assert (verdict.difference, verdict.n_days, verdict.n_rows) == (None, 28, 2_800)


def test_a_clearly_better_challenger_is_promoted_with_its_evidence() -> None:
    verdict = judge(TestRows(DAYS, Y, TRUTH, FLAT), SPEC)
    assert verdict.promote
    assert verdict.high is not None
    assert verdict.high < 0
    assert verdict.champion_value is not None
    assert verdict.difference == pytest.approx(verdict.value - verdict.champion_value)
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict


def test_a_worse_challenger_is_not() -> None:
    verdict = judge(TestRows(DAYS, Y, FLAT, TRUTH), SPEC)
    assert not verdict.promote
    assert "worse" in verdict.reason


def test_the_direction_follows_the_metric() -> None:
    assert judge(TestRows(DAYS, Y, TRUTH, 1 - TRUTH), GateSpec(metric="auc", resamples=200)).promote


def test_an_advantage_on_a_single_day_is_chance() -> None:
    # all of the gain comes from one day: by rows it would be significant, by days it is not
    lucky = np.where(DAYS == "2013-10-07", np.where(Y == 1, 0.95, 0.05), FLAT)
    verdict = judge(TestRows(DAYS, Y, lucky, FLAT), SPEC)
    assert verdict.difference is not None
    assert verdict.difference < 0
    assert not verdict.promote
    assert "interval holds zero" in verdict.reason


def test_too_few_days_promote_nothing_over_a_champion() -> None:
    few = DAYS < "2013-10-04"
    verdict = judge(TestRows(DAYS[few], Y[few], TRUTH[few], FLAT[few]), SPEC)
    assert not verdict.promote
    assert "3 test blocks (days, or longer periods) are too few" in verdict.reason


def test_a_broken_guardrail_stops_even_the_first_model() -> None:
    spec = GateSpec(guardrails={"auc": Bound(min=0.6), "brier": Bound(max=0.5)})
    verdict = judge(TestRows(DAYS, Y, FLAT), spec)
    assert not verdict.promote
    assert "auc is 0.5000" in verdict.reason
    assert [(rail.name, rail.passed) for rail in verdict.guardrails] == [("auc", False), ("brier", True)]


@settings(max_examples=25)
@given(seed=st.integers(0, 1_000), rows=st.integers(1, 30))
def test_a_model_is_never_better_than_itself(seed: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    days = np.repeat(DAYS[::100], rows)
    y, predicted = rng.integers(0, 2, len(days)).astype(float), rng.random(len(days))
    assert not judge(TestRows(days, y, predicted, predicted), GateSpec(resamples=100)).promote


NIGHT = np.arange(len(DAYS)) % 2 == 0
RARE = np.arange(len(DAYS)) % 100 == 7
BY_TIME = {"time": {"day": ~NIGHT, "night": NIGHT, "dawn": RARE}}


def slice_spec(**values: object) -> GateSpec:
    return GateSpec.model_validate({"resamples": 100, "slices": {"time": {"min_rows": 200, **values}}})


def test_slices_carry_both_figures_and_small_ones_are_not_judged() -> None:
    verdict = judge(TestRows(DAYS, Y, TRUTH, FLAT, BY_TIME), slice_spec(worse_by=0.0))
    found = verdict.slices["time=night"]
    assert (found.n_rows, found.n_days, found.judged) == (1_400, 28, True)
    assert found.challenger is not None
    assert found.champion is not None
    assert found.challenger < found.champion
    assert not verdict.slices["time=dawn"].judged
    assert not any("dawn" in rail.name for rail in verdict.guardrails)
    assert verdict.promote


def test_a_slice_that_gets_worse_stops_a_better_model() -> None:
    worse_at_night = np.where(NIGHT, np.clip(TRUTH + 0.3, 0, 0.95), TRUTH)
    champion = np.where(NIGHT, TRUTH, np.clip(TRUTH + 0.35, 0, 0.97))
    verdict = judge(TestRows(DAYS, Y, worse_at_night, champion, BY_TIME), slice_spec(worse_by=0.01))
    assert not verdict.promote
    assert "log_loss of time=night, minus the champion's" in verdict.reason


def test_a_slice_may_have_bounds_of_its_own_and_the_first_model_keeps_to_them() -> None:
    verdict = judge(TestRows(DAYS, Y, FLAT, None, BY_TIME), slice_spec(metric="auc", accept={"min": 0.6}))
    assert not verdict.promote
    assert "auc of time=night is 0.5000" in verdict.reason


def difference(value: float | None, *, better: bool) -> Difference:
    return Difference(value=value, low=None, high=None, days=9, rows=99, better=better, worse=False)


def test_a_baseline_is_beaten_by_the_whole_interval_or_it_bars_the_way() -> None:
    found = baseline_guardrails(
        "log_loss",
        {
            "constant": {"log_loss": difference(-0.1, better=True)},
            "last week": {"log_loss": difference(-0.01, better=False)},
            "undefined": {"log_loss": difference(None, better=False)},
        },
    )
    assert [(rail.name, rail.passed) for rail in found] == [
        ("log_loss minus that of constant", True),
        ("log_loss minus that of last week", False),
        ("log_loss minus that of undefined", False),
    ]
    assert {rail.bound for rail in found} == {Bound(max=0)}
    (auc,) = baseline_guardrails("auc", {"constant": {"auc": difference(0.2, better=True)}})
    assert (auc.bound, auc.passed) == (Bound(min=0), True)
    verdict = judge(TestRows(DAYS, Y, FLAT), SPEC, found)
    assert not verdict.promote
    assert "log_loss minus that of last week is -0.0100" in verdict.reason


def test_slices_that_cannot_be_judged_are_remarked_on_and_absent_ones_are_an_error() -> None:
    verdict = judge(TestRows(DAYS, Y, TRUTH, FLAT, BY_TIME), slice_spec(worse_by=0.0, min_rows=5_000))
    assert verdict.remarks == ("no slice by time has 5000 rows in 7 blocks, so none of them was judged",)
    with pytest.raises(TrainingError, match="there are no slices by time"):
        judge(TestRows(DAYS, Y, TRUTH, FLAT), slice_spec(worse_by=0.0))


def test_a_feature_that_knows_the_answer_is_named() -> None:
    probes = [Probe("hour", "value", 0.6, 100, 0.2, False), Probe("tailnum", "null", 0.53, 90, 1.0, True)]
    rails = feature_guardrails(probes, 0.8)
    assert [(rail.name, rail.passed) for rail in rails] == [
        ("auc of feature tailnum being null (label rate 1.000 in 90 rows)", False)
    ]
    verdict = judge(TestRows(DAYS, Y, TRUTH, FLAT), SPEC, rails)
    assert not verdict.promote
    assert "tailnum being null" in verdict.reason
    (strongest,) = feature_guardrails(probes[:1], 0.8)
    assert strongest.passed


def test_scoring_time_and_size_have_limits() -> None:
    measured = {"microseconds_per_row": 12.0, "megabytes": 80.0}
    rails = cost_guardrails(measured, CostGate(microseconds_per_row=20, megabytes=50))
    assert [(rail.name, rail.passed) for rail in rails] == [("microseconds per row", True), ("megabytes", False)]
    assert cost_guardrails(measured, CostGate()) == []


NAN = np.where(np.arange(len(DAYS)) == 3, np.nan, FLAT)


@pytest.mark.parametrize(
    ("test", "metric", "message"),
    [
        (TestRows(DAYS, Y, NAN), "log_loss", "1 of 2800 predictions of the challenger are NaN"),
        (TestRows(DAYS, Y, FLAT, NAN), "log_loss", "1 of 2800 predictions of the champion are NaN"),
        (
            TestRows(DAYS, np.zeros(len(DAYS)), FLAT),
            "auc",
            "auc of the challenger is undefined.*one class only",
        ),
        (TestRows(DAYS, np.where(DAYS < "2013-10-02", np.nan, Y), FLAT), "log_loss", "without an outcome"),
        (TestRows(DAYS, Y, FLAT, FLAT[1:]), "log_loss", "champion has 2799 rows for 2800"),
        (TestRows(DAYS, Y, FLAT, None, {"origin": {"EWR": NIGHT[1:]}}), "log_loss", "slice origin=EWR has 2799 rows"),
        (TestRows([], np.empty(0), np.empty(0)), "log_loss", "no test rows"),
    ],
)
def test_what_cannot_be_judged_is_an_error_that_names_it(test: TestRows, metric: str, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        judge(test, GateSpec(metric=metric))


def test_unknown_metrics_are_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValidationError, match='did you mean "log_loss"'):
        GateSpec(metric="logloss")
    with pytest.raises(ValidationError, match='did you mean "brier"'):
        GateSpec(guardrails={"briar": Bound(max=1)})
    with pytest.raises(ValidationError, match='did you mean "auc"'):
        SliceGate(metric="aucc", worse_by=0.1)
    with pytest.raises(ValidationError, match="give min, max or both"):
        Bound()
    with pytest.raises(ValidationError, match="nothing could be accepted"):
        Bound(min=1, max=0)
    with pytest.raises(ValidationError, match="give accept, worse_by or both"):
        SliceGate()


def test_a_slice_without_rows_is_an_error() -> None:
    with pytest.raises(TrainingError, match="slice time=never has no test rows"):
        judge(TestRows(DAYS, Y, TRUTH, None, {"time": {"never": DAYS == "x"}}), slice_spec(worse_by=0.0))


def test_nan_is_within_no_bound() -> None:
    assert not Bound(max=1).accepts(float("nan"))
    assert not Bound(min=1).accepts(float("nan"))
