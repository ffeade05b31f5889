"""Search a training set's best model: what a worker runs and what others read about a study."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import time
from dataclasses import dataclass
from typing import Any

import optuna
import pyarrow as pa
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from include.errors import TrainingError
from include.training import slots
from include.training.data import Windows, split
from include.training.families import family
from include.training.families.base import Fitting, Pruned
from include.training.metrics import metric
from include.training.spec import ModelSettings
from include.training.storage import open_store, reading
from include.training.sweep import FAMILY, LateResult, Sweep, open_sweep
from include.training.training_set import TrainingSet

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """Where a study stands.

    ``total`` is the budget; ``done``, ``pruned`` and ``failed`` count settled slots, ``running`` those
    at work now; ``lost`` counts attempts that ended with their worker. ``best_*`` are None until a
    trial is done.
    """

    study: str
    metric: str
    total: int
    done: int
    pruned: int
    failed: int
    running: int
    lost: int
    best_value: float | None
    best_trial: int | None
    best_family: str | None

    @property
    def finished(self) -> bool:
        """Whether the whole budget is settled."""
        return self.done + self.pruned + self.failed >= self.total

    def __str__(self) -> str:
        settled = self.done + self.pruned + self.failed
        best = "" if self.best_value is None else (
            f", best {self.metric} {self.best_value:.5f} (trial {self.best_trial}, {self.best_family})"
        )  # fmt: skip
        return (
            f"{self.study}: {settled}/{self.total} trials ({self.done} done, {self.pruned} pruned, "
            f"{self.failed} failed), {self.running} running{best}"
        )


@dataclass(frozen=True)
class BestTrial:
    """The winner of a study: the parameters with which it is fitted again."""

    study: str
    number: int
    family: str
    params: dict[str, Any]
    metric: str
    value: float


def study_name(use_case: str, fingerprint: str, settings: ModelSettings) -> str:
    """The study of one use case, training set and search: the same three always meet again."""
    return f"{use_case}-{fingerprint[:12]}-{settings.search_digest()}"


def search(
    storage: str,
    name: str,
    training_set: TrainingSet,
    settings: ModelSettings,
    *,
    trials: int | None = None,
    threads: int = 1,
) -> Progress:
    """Pull and run trials of the study until its shared budget is settled.

    Any number of processes may do this at once. A study that is finished returns at once; one that
    was interrupted continues.

    Args:
        storage: SQLAlchemy address of the study database.
        name: from :func:`study_name`.
        training_set: what to learn from; its newest days (test) are never looked at.
        settings: what to search.
        trials: budget of the whole study; ``settings.trials`` when None.
        threads: threads of this worker's fits.

    Raises:
        TrainingError: the data cannot be learnt from, or the study belongs to other data or settings.
    """
    store = open_store(storage, settings.heartbeat_seconds, settings.grace_seconds)
    budget = settings.trials if trials is None else trials
    try:
        sweep = open_sweep(store, name, training_set.fingerprint, settings, budget)
        before = progress_of(sweep.study)
        if before.finished:
            _log.info("%s; nothing left to run", before)
            return before
        worker = _Worker(sweep, split(training_set.table, settings), threads)
        while (trial := sweep.claim()) is not None:
            worker.run(trial)
            _log.info("%s", progress_of(sweep.study))
        return progress_of(sweep.study)
    finally:
        store.storage.engine.dispose()


class _Worker:
    """Runs trials over windows whose prepared form all trials share."""

    def __init__(self, sweep: Sweep, windows: Windows, threads: int) -> None:
        self._sweep, self._windows, self._threads = sweep, windows, threads
        self._metric = metric(sweep.settings.metric)
        self._prepared: dict[str, Any] = {}

    def run(self, trial: optuna.Trial) -> None:
        try:
            with self._sweep.alive(trial):
                self._settle(trial)
        except (LateResult, UpdateFinishedTrialError) as late:
            _log.warning("result of trial %d rejected: %s", trial.number, late)
        except BaseException:
            # a stopped worker hands its trial back, so that the next one need not wait for the grace;
            # why it was stopped matters more than whether handing back worked
            with contextlib.suppress(Exception):
                self._sweep.release(trial)
            raise

    def _settle(self, trial: optuna.Trial) -> None:
        try:
            value = self._fit(trial)
        except Pruned:
            self._sweep.prune(trial)
        except UpdateFinishedTrialError:
            raise
        except Exception as error:
            _log.warning("trial %d failed", trial.number, exc_info=True)
            self._sweep.fail(trial, f"{type(error).__name__}: {error}")
        else:
            self._sweep.complete(trial, value)

    def _fit(self, trial: optuna.Trial) -> float:
        settings = self._sweep.settings
        name = trial.suggest_categorical(FAMILY, list(settings.families))
        kind, space = family(name), settings.space(name)
        params = kind.suggest(trial, space)
        trial.set_user_attr("params", params)

        def on_step(step: int, value: float) -> None:
            if not math.isfinite(value):
                raise TrainingError(f"{self._metric.name} is {value} after step {step}")
            trial.report(value, step)
            if trial.should_prune():
                raise Pruned

        fitting = Fitting(settings.task, self._metric, self._threads, settings.seed, on_step)
        if name not in self._prepared:
            train, valid = self._windows.train, self._windows.valid
            self._prepared[name] = kind.prepare(train, valid, space, fitting)
        begun = time.perf_counter()
        model = kind.fit(params, self._prepared[name], fitting)
        predicted = model.predict(self._windows.valid.x, self._threads)
        trial.set_user_attr("fit_seconds", round(time.perf_counter() - begun, 3))
        return self._metric.value(self._windows.valid.y, predicted)


def study_progress(storage: str, name: str) -> Progress:
    """Where the study stands now; cheap enough to poll.

    Raises:
        TrainingError: there is no such study.
    """
    with reading(storage, name) as study:
        return progress_of(study)


def progress_of(study: optuna.Study) -> Progress:
    """Where an open study stands now."""
    trials = study.get_trials(deepcopy=False)
    last = slots.settled(trials)
    best = _best(study, trials)

    def count(*states: TrialState) -> int:
        return sum(trial.state in states for trial in last)

    return Progress(
        study=study.study_name,
        metric=study.user_attrs["metric"],
        total=study.user_attrs["budget"],
        done=count(TrialState.COMPLETE),
        pruned=count(TrialState.PRUNED),
        failed=count(TrialState.FAIL),
        running=count(TrialState.RUNNING, TrialState.WAITING),
        lost=sum(slots.is_lost(trial) for trial in trials),
        best_value=None if best is None else best.value,
        best_trial=None if best is None else best.number,
        best_family=None if best is None else best.params[FAMILY],
    )


def _best(study: optuna.Study, trials: list[FrozenTrial]) -> FrozenTrial | None:
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    sign = -1.0 if study.direction == optuna.study.StudyDirection.MAXIMIZE else 1.0
    # a tie goes to the earlier trial, so that the winner does not depend on the database's order
    return min(done, key=lambda trial: (sign * (trial.value or 0.0), trial.number), default=None)


def best_trial(storage: str, name: str) -> BestTrial:
    """The study's winner.

    Raises:
        TrainingError: no trial was completed; states why they failed.
    """
    with reading(storage, name) as study:
        trials = study.get_trials(deepcopy=False)
        best, metric_name = _best(study, trials), study.user_attrs["metric"]
    if best is None or best.value is None:
        reasons = sorted({str(trial.user_attrs.get(slots.REASON, "worker lost")) for trial in trials})
        raise TrainingError(f"study {name} has no completed trial: {'; '.join(reasons) or 'none was run'}")
    return BestTrial(
        study=name,
        number=best.number,
        family=best.params[FAMILY],
        params=dict(best.user_attrs["params"]),
        metric=metric_name,
        value=best.value,
    )


def trials_table(storage: str, name: str) -> pa.Table:
    """Every attempt of the study, one row each, by number.

    Columns: number, slot, state, family, params (JSON object), value, seconds (wall), steps reported,
    reason (of a failure), retry_of (number of the lost attempt that this one repeats).
    """
    with reading(storage, name) as study:
        trials = study.get_trials(deepcopy=False)
    return pa.Table.from_pylist(
        [_row(trial) for trial in sorted(trials, key=lambda trial: trial.number)], schema=_TRIALS
    )


_TRIALS = pa.schema(
    [
        ("number", pa.int64()),
        ("slot", pa.int64()),
        ("state", pa.string()),
        ("family", pa.string()),
        ("params", pa.string()),
        ("value", pa.float64()),
        ("seconds", pa.float64()),
        ("steps", pa.int64()),
        ("reason", pa.string()),
        ("retry_of", pa.int64()),
    ]
)


def _row(trial: FrozenTrial) -> dict[str, Any]:
    lost = "worker stopped answering" if slots.is_lost(trial) else None
    return {
        "number": trial.number,
        "slot": trial.user_attrs[slots.SLOT],
        "state": trial.state.name.lower(),
        "family": trial.params.get(FAMILY),
        "params": json.dumps(trial.user_attrs.get("params", {}), sort_keys=True),
        "value": trial.value,
        "seconds": None if trial.duration is None else trial.duration.total_seconds(),
        "steps": len(trial.intermediate_values),
        "reason": trial.user_attrs.get(slots.REASON, lost),
        "retry_of": trial.user_attrs.get(slots.RETRY_OF),
    }
