"""A fit that was cut off goes on from its checkpoint, and says so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from include.core.errors import LeaseLost
from include.training.families import family
from include.training.families.base import Fitting
from include.training.judging.metrics import metric
from include.training.study.checkpoints import SlotCheckpoints
from include.training.study.results import study_progress, trials_table
from include.training.study.searching import search, study_name
from include.training.training_set import TrainingSet
from tests.unit.test_training_families import CASES, VALUES, few, point, windows_of
from tests.unit.training_rows import model_settings, training_rows
from tests.waiting import until

REPOSITORY = Path(__file__).resolve().parents[2]


class _Cut(Exception):
    pass


def _checkpoints(folder: Path, trial: int = 0, **about: Any) -> SlotCheckpoints:
    return SlotCheckpoints(folder, trial, {"slot": 0, **about})


@pytest.mark.parametrize(("name", "task"), [(name, task) for name, task in CASES if task != "regression"])
def test_a_cut_off_fit_goes_on_and_ends_as_if_it_had_not_been_cut(name: str, task: str, tmp_path: Path) -> None:
    # every step helps: early stopping is not what is tried here
    families = {name: few(name) | ({"max_iter": 10} if name == "logistic" else {})}
    settings = model_settings(**(VALUES[task] | {"families": families}))
    windows, kind = windows_of(task, settings), family(name)
    params = point(settings, name)
    if name == "lightgbm":
        # draws nothing at random: only then can the trees be the same
        params |= {"bagging_fraction": 1.0, "feature_fraction": 1.0, "early_stopping": 100}
    seen: list[tuple[int, int]] = []

    def fit(run: int, checkpoints: SlotCheckpoints | None, until: int = 99) -> Any:
        def on_step(step: int, value: float) -> None:
            if step == until:
                raise _Cut
            seen.append((run, step))

        given = {} if checkpoints is None else {"checkpoints": checkpoints}
        fitting = Fitting(
            task, metric("log_loss"), on_step=on_step, classes=len(windows.classes), **given  # type: ignore[arg-type]
        )  # fmt: skip
        prepared = kind.prepare(windows.train, windows.valid, settings.space(name), fitting)
        return kind.fit(params, prepared, fitting)

    whole = fit(0, None)
    with pytest.raises(_Cut):
        fit(1, _checkpoints(tmp_path), until=3)
    again = fit(2, _checkpoints(tmp_path, trial=1))
    steps = [[step for run, step in seen if run == number] for number in range(3)]
    assert steps[1] + steps[2] == steps[0]
    assert steps[2][0] == 3
    np.testing.assert_allclose(again.predict(windows.test.x), whole.predict(windows.test.x), atol=1e-6)


def test_checkpoints_of_other_parameters_and_torn_ones_are_left_alone(tmp_path: Path) -> None:
    mine = _checkpoints(tmp_path, params={"a": 1.5})
    mine.reported(1, 0.5)

    def write(folder: Path) -> None:
        (folder / "state").write_text("one")

    mine.keep(1, write)
    assert _checkpoints(tmp_path, trial=1, params={"a": 2.0}).resume() is None
    torn = tmp_path / "trial-0009" / "step-07"
    torn.mkdir(parents=True)
    (torn / "state.json").write_text('{"identity"')
    found = _checkpoints(tmp_path, trial=1, params={"a": 1.5})
    folder = found.resume()
    assert folder is not None
    assert (folder / "state").read_text() == "one"
    assert (found.resumed, found.history) == (1, [(1, 0.5)])
    mine.clear()
    assert found.resume() is None


def test_checkpoints_come_no_more_often_than_asked_and_only_with_a_lease(tmp_path: Path) -> None:
    def lost() -> None:
        raise LeaseLost("gone")

    seldom = SlotCheckpoints(tmp_path, 0, {}, every_seconds=60)
    seldom.keep(1, lambda folder: None)
    assert seldom.resume() is None
    with pytest.raises(LeaseLost):
        SlotCheckpoints(tmp_path, 0, {}, allowed=lost).keep(1, lambda folder: None)
    assert not list(tmp_path.iterdir())


# a worker that stays between its fourth step and the next, so that it can be killed there
STAYS = """
import sys, time
from include.training.study import checkpoints
from include.training.study.worker import main
keep = checkpoints.SlotCheckpoints.keep
def stays(self, step, write):
    keep(self, step, write)
    if step == 4:
        time.sleep(3600)
checkpoints.SlotCheckpoints.keep = stays
main(sys.argv[1:])
"""


def test_trial_of_a_worker_killed_with_signal_9_resumes_within_the_budget(tmp_path: Path) -> None:
    settings = model_settings(trials=3, pruner="none", families={"torch_mlp": few("torch_mlp")}, checkpoint_seconds=0)
    rows = TrainingSet.of(training_rows())
    pq.write_table(rows.table, tmp_path / "rows.parquet")
    (tmp_path / "settings.json").write_text(settings.model_dump_json())
    storage, name = f"sqlite:///{tmp_path / 'studies.db'}", study_name("flights", rows.fingerprint, settings)
    line = ["--storage", storage, "--study", name, "--training-set", str(tmp_path / "rows.parquet")]
    line += ["--settings", str(tmp_path / "settings.json"), "--fingerprint", rows.fingerprint]
    line += ["--prepared", str(tmp_path / "prepared"), "--checkpoints", str(tmp_path / "checkpoints")]
    worker = subprocess.Popen(
        [sys.executable, "-c", STAYS, *line], cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}
    )
    _wait_for(lambda: any(tmp_path.glob("checkpoints/*/slot-0000/trial-0000/step-04")), worker)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    progress = search(
        storage, name, rows, settings, prepared=tmp_path / "prepared", checkpoints=tmp_path / "checkpoints"
    )
    assert (progress.done, progress.lost, progress.resumed, progress.total) == (3, 1, 1, 3)
    trials = trials_table(storage, name).to_pylist()
    resumed = next(trial for trial in trials if trial["retry_of"] == 0)
    assert [trial["resumed_from"] for trial in trials if trial is not resumed] == [None, None, None]
    assert resumed["resumed_from"] == 4
    # what was reported before the kill is part of the trial that went on
    assert resumed["steps"] >= 5
    assert study_progress(storage, name).finished
    # settled slots leave nothing behind but the best trial
    assert {path.name for path in (tmp_path / "checkpoints" / name).iterdir()} == {"kept"}


def _wait_for(there: Callable[[], bool], worker: subprocess.Popen[bytes]) -> None:
    def reached() -> bool:
        assert worker.poll() is None, "the worker has ended"
        return there()

    until(reached, "a checkpoint")


def test_worker_that_lost_its_lease_writes_nothing(tmp_path: Path) -> None:
    settings = model_settings(trials=2, families={"logistic": {}})
    rows = TrainingSet.of(training_rows())
    storage, name = f"sqlite:///{tmp_path / 'studies.db'}", study_name("flights", rows.fingerprint, settings)
    asked = 0

    def lost_in_the_middle() -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise LeaseLost("taken away")

    with pytest.raises(LeaseLost):
        search(storage, name, rows, settings, allowed=lost_in_the_middle)
    progress = study_progress(storage, name)
    assert (progress.done, progress.failed, progress.running) == (0, 0, 1)
    assert json.loads(trials_table(storage, name)["params"][0].as_py())
