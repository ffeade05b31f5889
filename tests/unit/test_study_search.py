"""One worker's search: repeatable, continues, survives failing trials, refuses strangers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from include.core.errors import TrainingError
from include.spec.training import ModelSettings
from include.training.families.base import Model
from include.training.families.boosting import LightGbm
from include.training.families.logistic import Logistic
from include.training.study import searching
from include.training.study.optuna_private import trial_id
from include.training.study.results import best_trial, study_progress, trials_table
from include.training.study.searching import search, study_name
from include.training.study.shared_study import LateResult, SharedStudy, join_study
from include.training.study.storage import open_store
from include.training.study.worker import main
from include.training.training_set import TrainingSet
from tests.unit.silent_worker import heard, silence
from tests.unit.training_rows import REGRESSION, model_settings, training_rows
from tests.waiting import until

ROWS = TrainingSet.of(training_rows())
# no machine is so busy that a heartbeat comes an hour late
GRACE_S = 3600


def _name(settings: ModelSettings) -> str:
    return study_name("flights", ROWS.fingerprint, settings)


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'studies.db'}"


def test_same_rows_and_seed_find_the_same_best_trial(storage: str, tmp_path: Path) -> None:
    settings = model_settings(trials=8)
    search(storage, _name(settings), ROWS, settings)
    # the second study is interrupted and continued half way
    other = f"sqlite:///{tmp_path / 'other.db'}"
    search(other, _name(settings), ROWS, settings, trials=4)
    search(other, _name(settings), ROWS, settings)
    assert best_trial(storage, _name(settings)) == best_trial(other, _name(settings))
    once = trials_table(storage, _name(settings))
    assert once.num_rows == 8
    wall = ["seconds", "fit_seconds"]
    assert once.drop(wall) == trials_table(other, _name(settings)).drop(wall)


def test_every_family_starts_from_its_known_good_point(storage: str) -> None:
    settings = model_settings(trials=2)
    search(storage, _name(settings), ROWS, settings)
    rows = trials_table(storage, _name(settings)).to_pylist()
    assert [row["family"] for row in rows] == ["lightgbm", "logistic"]
    assert json.loads(rows[0]["params"])["learning_rate"] == 0.06


def test_finished_study_returns_at_once(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = model_settings(trials=2)
    first = search(storage, _name(settings), ROWS, settings)
    assert first.finished
    monkeypatch.setattr(searching, "open_data", lambda *_: pytest.fail("looked at the data again"))
    assert search(storage, _name(settings), ROWS, settings) == first


def test_regression_is_searched_the_same_way(storage: str) -> None:
    settings = model_settings(**REGRESSION, trials=4)
    progress = search(storage, _name(settings), ROWS, settings)
    assert progress.finished
    assert progress.best_value is not None
    assert progress.best_value < 4
    assert progress.best_family == "ridge"


def test_random_sampler_and_asha_are_selectable(storage: str) -> None:
    settings = model_settings(sampler="random", pruner="asha", trials=4, metric="auc")
    progress = search(storage, _name(settings), ROWS, settings)
    assert progress.finished
    assert progress.best_value is not None
    assert progress.best_value > 0.7


def test_hopeless_trials_are_pruned(storage: str) -> None:
    settings = model_settings(
        trials=7, sampler="random", families={"lightgbm": {"rounds": 40, "learning_rate": [0.2, 1e-6]}}
    )
    progress = search(storage, _name(settings), ROWS, settings)
    assert progress.pruned >= 1
    assert progress.done + progress.pruned == 7


class _NanModel:
    def predict(self, x: Any, threads: int = 1) -> Any:
        return np.full(len(x), np.nan)


def test_failing_and_nan_trials_state_their_reason_and_the_sweep_goes_on(
    storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises(*_: object) -> Model:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(LightGbm, "fit", raises)
    monkeypatch.setattr(Logistic, "fit", lambda *_: _NanModel())
    settings = model_settings(trials=4)
    progress = search(storage, _name(settings), ROWS, settings)
    assert (progress.failed, progress.done, progress.finished) == (4, 0, True)
    reasons = set(trials_table(storage, _name(settings))["reason"].to_pylist())
    assert reasons == {"RuntimeError: out of luck", "log_loss is nan on the validation window"}
    with pytest.raises(TrainingError, match=r"no completed trial: RuntimeError: out of luck; log_loss is nan"):
        best_trial(storage, _name(settings))


def test_stopped_worker_hands_its_trial_back(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> Model:
        raise SystemExit(143)

    settings = model_settings(trials=2, families={"logistic": {}})
    with monkeypatch.context() as patched:
        patched.setattr(Logistic, "fit", stopped)
        with pytest.raises(SystemExit):
            search(storage, _name(settings), ROWS, settings)
    assert not study_progress(storage, _name(settings)).finished
    progress = search(storage, _name(settings), ROWS, settings)
    assert (progress.done + progress.pruned, progress.lost, progress.total) == (2, 1, 2)
    assert trials_table(storage, _name(settings))["retry_of"].to_pylist() == [None, 0, None]


@pytest.fixture
def two_workers(storage: str) -> Iterator[tuple[SharedStudy, SharedStudy]]:
    settings = model_settings(trials=1)
    stores = [open_store(storage, 1, GRACE_S) for _ in range(2)]
    first, second = (join_study(store, _name(settings), ROWS.fingerprint, settings, 1) for store in stores)
    yield first, second
    for store in stores:
        store.storage.engine.dispose()


def test_late_result_of_a_retried_trial_is_rejected(storage: str, two_workers: tuple[SharedStudy, SharedStudy]) -> None:
    silent, lively = two_workers
    given_up = silent.claim()
    assert given_up is not None
    given_up.suggest_categorical("family", ["lightgbm", "logistic"])
    silence(storage, trial_id(given_up))
    retried = lively.claim()
    assert retried is not None
    assert retried.number == 1
    assert retried.params == given_up.params
    with pytest.raises(LateResult, match="trial 0 is already FAIL"):
        silent.complete(given_up, 0.0)
    lively.complete(retried, 0.5)
    assert silent.claim() is None
    assert silent.study.best_value == 0.5


def test_heartbeats_keep_a_slow_trial(storage: str, two_workers: tuple[SharedStudy, SharedStudy]) -> None:
    slow, waiting = two_workers
    trial = slow.claim()
    assert trial is not None
    silence(storage, trial_id(trial))
    with slow.alive(trial):
        until(lambda: heard(storage, trial_id(trial)), "a heartbeat")
        waiting._next()
        slow.complete(trial, 0.4)
    assert waiting.claim() is None


def test_strangers_are_refused(storage: str) -> None:
    settings = model_settings(trials=1)
    search(storage, "flights", ROWS, settings)
    other = TrainingSet.of(training_rows(seed=9))
    with pytest.raises(TrainingError, match="study flights belongs to training set"):
        search(storage, "flights", other, settings)
    with pytest.raises(TrainingError, match="study flights belongs to settings"):
        search(storage, "flights", ROWS, model_settings(seed=8))


def test_study_and_storage_that_do_not_exist_are_named(storage: str) -> None:
    with pytest.raises(TrainingError, match="study nowhere does not exist"):
        study_progress(storage, "nowhere")
    with pytest.raises(TrainingError, match="studies need PostgreSQL or an SQLite file, not mysql"):
        open_store("mysql://localhost/optuna")


def test_worker_command_reports_errors_without_a_traceback(
    storage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "settings.json"
    settings.write_text('{"label": "disrupted", "metric": "logloss", "families": {"logistic": {}}}')
    base = ["--storage", storage, "--study", "s", "--training-set", "nowhere", "--settings", str(settings)]
    assert main(base) == 1
    assert 'did you mean "log_loss"?' in capsys.readouterr().err
    settings.write_text(model_settings().model_dump_json())
    assert main(base) == 1
    assert "training set nowhere does not exist" in capsys.readouterr().err
