"""Grids, shares of families, budgets in time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from include.core.errors import TrainingError
from include.spec.families import FAMILIES, Searched
from include.training.study import budget
from include.training.study.proposals import FAMILY, fixed_start, grid
from include.training.study.results import trials_table
from include.training.study.searching import search, study_name
from include.training.training_set import TrainingSet
from tests.unit.training_rows import model_settings, training_rows

ROWS = TrainingSet.of(training_rows())
NOON = datetime(2013, 1, 1, 12)


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'studies.db'}"


SMALL = {
    "lightgbm": {
        "rounds": 10, "min_data_in_leaf": [10, 20], "num_leaves": 8, "learning_rate": 0.1,
        "feature_fraction": 0.5, "bagging_fraction": 0.7, "lambda_l2": 1.0,
    },
    "logistic": {"penalty": {"low": 0.01, "high": 1.0}},
}  # fmt: skip


def test_grid_is_every_combination_once_and_ends_the_study(storage: str) -> None:
    settings = model_settings(sampler="grid", families=SMALL, trials=50, pruner="none")
    points = grid(settings)
    assert len(points) == 2 + 3
    assert sorted(point["logistic.penalty"] for point in points if point[FAMILY] == "logistic") == [
        pytest.approx(0.01), pytest.approx(0.1), pytest.approx(1.0),
    ]  # fmt: skip
    progress = search(storage, study_name("flights", ROWS.fingerprint, settings), ROWS, settings)
    assert (progress.total, progress.done, progress.finished) == (5, 5, True)


def test_grid_that_cannot_be_meant_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"the grid has \d+ points; fix parameters"):
        grid(model_settings(sampler="grid", grid_points=12))


def test_by_family_gives_each_family_its_share_and_its_own_history(storage: str) -> None:
    settings = model_settings(search="by_family", trials=8, pruner="asha")
    name = study_name("flights", ROWS.fingerprint, settings)
    assert search(storage, name, ROWS, settings).finished
    families = trials_table(storage, name)["family"].to_pylist()
    assert families == ["lightgbm", "logistic"] * 4
    assert fixed_start(settings, 7) == {FAMILY: "logistic"}


def test_another_search_space_is_another_study(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """C22: other bounds, order or defaults of a release; in one study, trial after trial would fail."""
    two = model_settings(families=SMALL, trials=2)
    turned = model_settings(families=dict(reversed(SMALL.items())), trials=3)
    wider = model_settings(families=SMALL | {"logistic": {"penalty": {"low": 0.01, "high": 2.0}}}, trials=3)
    names = [study_name("flights", ROWS.fingerprint, one) for one in (two, turned, wider)]
    assert search(storage, names[0], ROWS, two).finished
    default = FAMILIES["lightgbm"]
    changed = dict(default.space) | {"min_data_in_leaf": Searched(50, 900, start=200, log=True, integer=True)}
    released = model_settings(families={"lightgbm": {"rounds": 10}})
    before = study_name("flights", ROWS.fingerprint, released)
    monkeypatch.setitem(FAMILIES, "lightgbm", replace(default, space=changed))
    names += [before, study_name("flights", ROWS.fingerprint, released)]
    assert len(set(names)) == len(names)
    for name, settings in zip(names[1:3], (turned, wider), strict=True):
        progress = search(storage, name, ROWS, settings)
        assert (progress.done, progress.failed) == (3, 0)


def test_a_worker_with_another_search_space_is_refused(storage: str) -> None:
    """C22: a worker elsewhere that runs another release has its own defaults, and is told the study's name."""
    settings = model_settings(families=SMALL, trials=2)
    name = study_name("flights", ROWS.fingerprint, settings)
    assert search(storage, name, ROWS, settings).finished
    with pytest.raises(TrainingError, match="belongs to settings"):
        search(storage, name, ROWS, model_settings(families=dict(reversed(SMALL.items())), trials=3))


def test_a_default_that_is_spelled_out_changes_nothing() -> None:
    """C22: it is the space that trials are drawn from which counts."""
    spelled = {"num_leaves": {"low": 8, "high": 48}, "rounds": 200, "max_bin": 63}
    plain = model_settings(families={"lightgbm": {}})
    assert model_settings(families={"lightgbm": spelled}).search_digest() == plain.search_digest()


def test_hyperband_prunes_across_brackets(storage: str) -> None:
    settings = model_settings(
        pruner="hyperband", sampler="random", trials=10, families={"lightgbm": {"rounds": 40, "min_data_in_leaf": 10}}
    )
    progress = search(storage, study_name("flights", ROWS.fingerprint, settings), ROWS, settings)
    assert progress.finished
    assert progress.pruned >= 1


def _trial(begin: int, end: int | None, devices: int = 1) -> FrozenTrial:
    state = TrialState.RUNNING if end is None else TrialState.COMPLETE
    trial = create_trial(state=state, value=None if end is None else 1.0, user_attrs={budget.DEVICES: devices})
    trial.datetime_start = NOON + timedelta(seconds=begin)
    trial.datetime_complete = None if end is None else NOON + timedelta(seconds=end)
    return trial


def test_time_counts_while_anybody_works_and_device_time_for_everybody() -> None:
    now = NOON + timedelta(seconds=200)
    trials = [_trial(0, 60), _trial(10, 40, devices=2), _trial(50, 70), _trial(180, None)]
    assert budget.busy_seconds(trials, now) == 70 + 20
    assert budget.device_seconds(trials, now) == 60 + 2 * 30 + 20 + 20
    assert budget.exhausted(trials, {budget.TIME: 91}, now) is None
    assert budget.exhausted(trials, {budget.TIME: 90}, now) == "time budget of 90 s is used up"
    assert budget.exhausted(trials, {budget.DEVICE_TIME: 160}, now) == "device budget of 160 s is used up"
    assert budget.exhausted([], {budget.TIME: 1, budget.DEVICE_TIME: None}, now) is None


def test_study_out_of_time_ends_with_what_it_has_and_goes_on_when_given_more(storage: str) -> None:
    settings = model_settings(trials=4, time_budget_seconds=0.001, families={"logistic": {}})
    name = study_name("flights", ROWS.fingerprint, settings)
    progress = search(storage, name, ROWS, settings)
    assert (progress.done, progress.total, progress.finished) == (1, 4, True)
    assert "time budget of 0.001 s is used up" in str(progress)
    more = search(storage, name, ROWS, settings.model_copy(update={"time_budget_seconds": None}))
    assert (more.done + more.pruned, more.exhausted) == (4, None)
