"""Predictions follow the base rate by what was known at the clock, and by nothing later."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from pydantic import ValidationError

from include.core import partitions
from include.core.errors import TrainingError
from include.spec.loading import load_use_case
from include.spec.scoring import RecalibrationSpec, ScoringSpec
from include.steps.score import recalibration
from include.steps.score.recalibration import Known, apply, learn, undo
from include.training.data import split
from include.training.model import load_model
from tests.unit import promotion_case as given

CASE = load_use_case("flights")
ZONE = CASE.time_zone
DAYS = np.repeat(partitions.key_range("2013-10-01", "2013-10-31"), 50)
SPEC = RecalibrationSpec(window_periods=7, min_rows=100, shrink_periods=0)


def instants(days: np.ndarray, after: int = 1) -> np.ndarray:
    """Each outcome known when the day ``after`` days later begins, less a microsecond."""
    clocks = {day: partitions.clock(partitions.shift(day, after), ZONE) for day in np.unique(days)}
    return np.array([int(clocks[day].timestamp() * 1_000_000) - 1 for day in days])


RNG = np.random.default_rng(3)
PREDICTED = RNG.uniform(0.05, 0.4, len(DAYS))
# every flight is more likely disrupted than the model thinks
Y = (RNG.random(len(DAYS)) < apply(PREDICTED, 0.8)).astype(float)
KNOWN = Known(DAYS, Y, PREDICTED, instants(DAYS))


def test_the_offset_brings_the_mean_of_the_window_to_what_was_observed() -> None:
    state = learn("2013-10-20", KNOWN, CASE, SPEC)
    assert (state.first, state.last, state.rows) == ("2013-10-12", "2013-10-18", 350)
    chosen = np.isin(DAYS, partitions.key_range(state.first, state.last))
    assert apply(PREDICTED[chosen], state.offset).mean() == pytest.approx(Y[chosen].mean(), abs=1e-5)
    assert state.offset == pytest.approx(0.8, abs=0.3)
    assert (state.predicted, state.observed) == (PREDICTED[chosen].mean(), Y[chosen].mean())


@settings(max_examples=40)
@drawn(day=st.integers(10, 31), seed=st.integers(0, 100))
def test_what_became_known_after_the_clock_changes_nothing(day: int, seed: int) -> None:
    key = f"2013-10-{day:02}"
    clock = int(partitions.clock(key, ZONE).timestamp() * 1_000_000)
    rng = np.random.default_rng(seed)
    known_at = KNOWN.known_at + rng.integers(0, 4 * 86_400_000_000, len(DAYS))
    full = replace(KNOWN, known_at=known_at)
    before = known_at < clock
    cut = Known(DAYS[before], Y[before], PREDICTED[before], known_at[before])
    assert learn(key, full, CASE, SPEC) == learn(key, cut, CASE, SPEC)


def test_outcomes_count_on_the_day_that_has_25_hours_too() -> None:
    days = np.repeat(["2013-11-03"], 200)
    late = int(partitions.clock("2013-11-05", ZONE).timestamp() * 1_000_000)
    known = Known(days, np.ones(200), np.full(200, 0.2), np.full(200, late))
    assert learn("2013-11-05", known, CASE, SPEC).rows == 0
    assert learn("2013-11-05", replace(known, known_at=known.known_at - 1), CASE, SPEC).rows == 200


def test_too_few_outcomes_leave_predictions_as_they_are() -> None:
    few = learn("2013-10-20", KNOWN, CASE, RecalibrationSpec(window_periods=7, min_rows=351))
    assert (few.offset, few.rows) == (0.0, 350)
    none = learn("2013-09-01", KNOWN, CASE, SPEC)
    assert (none.offset, none.rows, none.observed) == (0.0, 0, None)
    assert apply(PREDICTED, 0.0) is PREDICTED


def test_an_offset_is_bounded_and_may_be_shrunk() -> None:
    everything = replace(KNOWN, y=np.ones(len(DAYS)))
    assert learn("2013-10-20", everything, CASE, SPEC).offset == pytest.approx(SPEC.max_offset, abs=1e-5)
    whole = learn("2013-10-20", KNOWN, CASE, SPEC).offset
    half = learn("2013-10-20", KNOWN, CASE, RecalibrationSpec(window_periods=7, min_rows=100, shrink_periods=7)).offset
    assert 0.3 * whole < half < 0.7 * whole


@drawn(offset=st.floats(-1.5, 1.5), p=st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_shifted_predictions_stay_probabilities_in_their_order(offset: float, p: list[float]) -> None:
    ordered = np.sort(np.array(p))
    shifted = apply(ordered, offset)
    assert ((shifted >= 0) & (shifted <= 1)).all()
    assert (np.diff(shifted) >= -1e-12).all()


@drawn(offset=st.floats(-5, 5), p=st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_undoing_an_offset_gives_what_the_model_said(offset: float, p: list[float]) -> None:
    said = np.array(p)
    back = undo(apply(said, offset), np.full(len(said), offset), known=np.empty(0))
    assert np.allclose(back, said, rtol=1e-9, atol=1.1e-6)


def test_undoing_finds_the_very_numbers_that_the_reference_has() -> None:
    # steps of an isotonic calibration: a test that counts ties must find them again, 0 and 1 too
    steps = np.array([0.0, 0.1, 1 / 3, 0.7, 1.0])
    said = np.repeat(steps, 3)
    offsets = np.tile([0.0, 1.0, -0.3], 5)
    shifted = np.array([apply(np.array([one]), offset)[0] for one, offset in zip(said, offsets, strict=True)])
    assert np.array_equal(undo(shifted, offsets, known=steps), said)
    assert undo(np.array([0.2]), np.array([0.0]), known=np.array([0.2000001]))[0] == 0.2
    assert undo(apply(np.array([0.2]), 1.0), np.array([1.0]), known=np.array([0.3]))[0] == pytest.approx(0.2)


def test_it_is_judged_like_any_candidate_with_the_offset_of_each_day(tmp_path: Path) -> None:
    there = given.workspace(tmp_path, scoring={"recalibration": {"min_rows": 50, "window_periods": 5}})
    model = load_model(Path(given.fit(there).model_dir))
    windows = split(given.rows(), there.case.training)
    found = recalibration.evaluate(model, windows, there.case)
    assert sorted(found.offsets) == list(windows.test.keys)
    assert len(set(found.offsets.values())) > 5
    plain, shifted = found.plain["log_loss"].value, found.shifted["log_loss"].value
    assert plain is not None
    assert shifted is not None
    assert found.differences["log_loss"].value == pytest.approx(shifted - plain)
    # the first test day learns from validation days only
    state = recalibration.shifted_test(model, windows, there.case)[1][windows.test.keys[0]]
    assert state.last < windows.test.keys[0]


def test_without_the_instant_of_knowing_nothing_is_learnt() -> None:
    rows = given.rows().drop_columns(["label_known_at"])
    with pytest.raises(TrainingError, match="rows lack label_known_at"):
        recalibration.known_rows(rows, np.zeros(rows.num_rows), "disrupted", "day")


def test_a_spec_that_cannot_be_is_refused() -> None:
    for values in ({"kind": "platt"}, {"window_periods": 2}, {"max_offset": 0}, {"windows": 3}):
        with pytest.raises(ValidationError):
            ScoringSpec.model_validate({"recalibration": values})
    regression = {"task": "regression", "label": "delay", "metric": "rmse", "families": {"ridge": {}}}
    with pytest.raises(ValidationError, match="for binary labels"):
        given.case(regression, scoring={"recalibration": {}}, gates={"metric": "rmse"})
