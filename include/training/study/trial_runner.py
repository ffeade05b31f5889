"""The part of a worker that runs the trials of a shared study."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from include.core import fault_points
from include.core.errors import LeaseLost, TrainingError
from include.training.families import family
from include.training.families.base import Fitting, NoCheckpoints, Pruned
from include.training.imbalance import corrected
from include.training.judging.metrics import metric
from include.training.study import slots
from include.training.study.checkpoints import SlotCheckpoints, slot_folder
from include.training.study.kept_trials import KeptTrials
from include.training.study.prepared import SearchData
from include.training.study.proposals import FAMILY
from include.training.study.shared_study import LateResult, SharedStudy

RESUMED = "resumed_from_step"
_LOOK_SECONDS = 1.0
_log = logging.getLogger(__name__)


class OutOfTime(Pruned):
    """The study's time is used up and it has a result: running trials end at their current step."""


class TrialRunner:
    """A runner of trials that share prepared data."""

    def __init__(
        self, shared: SharedStudy, data: SearchData, threads: int, checkpoints: Path | None = None, device: str = "auto"
    ) -> None:
        self._shared, self._data = shared, data
        self._metric = metric(shared.settings.metric)
        self._checkpoints = checkpoints
        treatment = data.treatment
        self._fitting = Fitting(
            shared.settings.task,
            self._metric,
            threads,
            shared.settings.seed,
            cache=data.cache,
            device=device,
            positive_weight=treatment.positive_weight,
            focal=treatment.focal,
            odds=treatment.odds,
            classes=data.classes,
        )
        most = shared.settings.ensemble_size if shared.settings.ensemble != "none" else 1
        self._kept = None if checkpoints is None else KeptTrials(
            checkpoints, shared.name, self._metric, most, shared.allowed
        )  # fmt: skip
        self._prepared: dict[str, Any] = {}
        self._looked = 0.0

    def run(self, trial: optuna.Trial) -> None:
        """Run a trial and settle it, also when it fails."""
        try:
            with self._shared.alive(trial):
                self._settle(trial)
        except (LateResult, UpdateFinishedTrialError) as late:
            _log.warning("result of trial %d rejected: %s", trial.number, late)
        except LeaseLost:
            # this worker may not write any more, not even to give the trial up
            raise
        except BaseException:
            # a stopped worker releases its trial, so that the next worker need not wait for the grace period;
            # an error of the release must not hide the reason for the stop
            with contextlib.suppress(Exception):
                self._shared.release(trial)
            raise

    def _settle(self, trial: optuna.Trial) -> None:
        try:
            value = self._fit(trial)
        except OutOfTime as ended:
            self._shared.prune(trial, str(ended))
        except Pruned:
            self._shared.prune(trial)
        except (UpdateFinishedTrialError, LeaseLost):
            raise
        except Exception as error:
            _log.warning("trial %d failed", trial.number, exc_info=True)
            self._shared.fail(trial, f"{type(error).__name__}: {error}")
        else:
            self._shared.complete(trial, value)
        if self._checkpoints is not None:
            self._slot(trial, {}).clear()

    def _fit(self, trial: optuna.Trial) -> float:
        settings = self._shared.settings
        name = trial.suggest_categorical(FAMILY, list(settings.families))
        kind, space = family(name), settings.space(name)
        params = kind.suggest(trial, space)
        trial.set_user_attr("params", params)
        fault_points.reached("study.trial_running")
        about = {"family": name, "params": params}
        checkpoints = None if self._checkpoints is None else self._slot(trial, about)

        def on_step(step: int, value: float) -> None:
            if not math.isfinite(value):
                raise TrainingError(f"{self._metric.name} is {value} after step {step}")
            trial.report(value, step)
            if checkpoints is not None:
                checkpoints.reported(step, value)
            if trial.should_prune():
                raise Pruned
            self._check_time(trial)

        fitting = replace(self._fitting, on_step=on_step, checkpoints=_Reporting(trial, checkpoints))
        if name not in self._prepared:
            begun = time.perf_counter()
            self._prepared[name] = kind.prepare(self._data.train, self._data.valid, space, fitting)
            trial.set_user_attr("prepare_seconds", round(time.perf_counter() - begun, 3))
        begun = time.perf_counter()
        try:
            model = kind.fit(params, self._prepared[name], fitting)
        except Pruned:
            trial.set_user_attr("fit_seconds", round(time.perf_counter() - begun, 3))
            raise
        predicted = corrected(model.predict(self._data.valid.x, fitting.threads), fitting.odds)
        value = self._metric.value(self._data.valid.y, predicted)
        trial.set_user_attr("fit_seconds", round(time.perf_counter() - begun, 3))
        if self._kept is not None and math.isfinite(value):
            self._kept.put(trial.number, about, value, model, predicted)
        return value

    def _slot(self, trial: optuna.Trial, about: dict[str, Any]) -> SlotCheckpoints:
        assert self._checkpoints is not None
        slot = trial.user_attrs[slots.SLOT]
        identity = {"study": self._shared.name, "slot": slot, **about}
        return SlotCheckpoints(
            slot_folder(self._checkpoints, self._shared.name, slot),
            trial.number,
            identity,
            self._shared.settings.checkpoint_seconds,
            self._shared.allowed,
        )

    def _check_time(self, trial: optuna.Trial) -> None:
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        trials = self._shared.study.get_trials(deepcopy=False)
        reason = self._shared.exhausted(trials)
        # wait for the first result: a study without one is useless
        if reason and any(one.state == TrialState.COMPLETE for one in trials):
            raise OutOfTime(reason)


class _Reporting:
    """Checkpoints that tell the study what a resumed trial had reported before."""

    def __init__(self, trial: optuna.Trial, inner: SlotCheckpoints | None) -> None:
        self._trial, self._inner = trial, inner or NoCheckpoints()
        self._history = inner

    def resume(self) -> Path | None:
        found = self._inner.resume()
        if found is not None and self._history is not None:
            _log.info("trial %d goes on after step %s", self._trial.number, self._history.resumed)
            self._trial.set_user_attr(RESUMED, self._history.resumed)
            for step, value in self._history.history:
                self._trial.report(value, step)
        return found

    def keep(self, step: int, write: Any) -> None:
        self._inner.keep(step, write)
