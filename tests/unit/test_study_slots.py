"""Which trial is next, decided from a list of trials alone."""

from __future__ import annotations

from optuna.trial import FrozenTrial, TrialState, create_trial

from include.training.study.slots import REASON, SLOT, Next, is_lost, next_step, settled


def _trial(number: int, slot: int, state: TrialState, reason: str | None = None) -> FrozenTrial:
    attrs = {SLOT: slot} | ({REASON: reason} if reason else {})
    trial = create_trial(state=state, value=1.0 if state == TrialState.COMPLETE else None, user_attrs=attrs)
    trial.number = number
    return trial


DONE, FAIL, RUNNING = TrialState.COMPLETE, TrialState.FAIL, TrialState.RUNNING


def test_empty_study_starts_the_first_slot() -> None:
    assert next_step([], budget=2, retries=1) == Next("start", 0)


def test_running_trials_use_up_budget() -> None:
    trials = [_trial(0, 0, DONE), _trial(1, 1, RUNNING)]
    assert next_step(trials, budget=3, retries=1) == Next("start", 2)
    assert next_step(trials, budget=2, retries=1) == Next("wait")


def test_failure_with_a_reason_is_settled() -> None:
    trials = [_trial(0, 0, DONE), _trial(1, 1, FAIL, "ValueError: no")]
    assert next_step(trials, budget=2, retries=1) == Next("finished")


def test_lost_trial_is_retried_in_its_slot_before_new_ones() -> None:
    lost = _trial(0, 0, FAIL)
    assert is_lost(lost)
    assert next_step([lost], budget=2, retries=1) == Next("retry", 0, lost)


def test_retries_run_out() -> None:
    trials = [_trial(0, 0, FAIL), _trial(1, 0, FAIL)]
    assert next_step(trials, budget=1, retries=1) == Next("finished")
    assert next_step(trials, budget=1, retries=2) == Next("retry", 0, trials[1])


def test_queued_trial_comes_first() -> None:
    assert next_step([_trial(0, 0, TrialState.WAITING)], budget=5, retries=1) == Next("resume")


def test_slot_is_judged_by_its_last_attempt() -> None:
    trials = [_trial(0, 0, FAIL), _trial(1, 1, DONE), _trial(2, 0, DONE)]
    assert [trial.number for trial in settled(trials)] == [2, 1]
