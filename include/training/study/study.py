"""Search a training set's best model: what a worker runs and what others read about a study."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pyarrow as pa
from optuna.trial import FrozenTrial, TrialState

from include.core.errors import TrainingError
from include.spec.training import ModelSettings
from include.training.study import budget as budgets
from include.training.study import slots
from include.training.study.proposals import FAMILY
from include.training.study.running import RESUMED, Worker
from include.training.study.shared import Frozen, open_data
from include.training.study.storage import open_store, reading
from include.training.study.sweep import open_sweep
from include.training.training_set import TrainingSet

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """Where a study stands.

    ``total`` is the budget; ``done``, ``pruned`` and ``failed`` count settled slots, ``running`` those
    at work now; ``lost`` counts attempts that ended with their worker, ``resumed`` those that went on
    from a checkpoint. ``exhausted`` says which time budget is used up. ``best_*`` are None until a trial
    is done.
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
    resumed: int = 0
    exhausted: str | None = None

    @property
    def finished(self) -> bool:
        """Whether the whole budget is settled, or no time is left and nobody is at work."""
        settled = self.done + self.pruned + self.failed
        return settled >= self.total or (self.exhausted is not None and not self.running)

    def __str__(self) -> str:
        settled = self.done + self.pruned + self.failed
        best = "" if self.best_value is None else (
            f", best {self.metric} {self.best_value:.5f} (trial {self.best_trial}, {self.best_family})"
        )  # fmt: skip
        return (
            f"{self.study}: {settled}/{self.total} trials ({self.done} done, {self.pruned} pruned, "
            f"{self.failed} failed), {self.running} running, {self.resumed} resumed{best}"
            + (f"; {self.exhausted}" if self.exhausted else "")
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
    training_set: TrainingSet | Frozen,
    settings: ModelSettings,
    *,
    trials: int | None = None,
    threads: int = 1,
    prepared: Path | None = None,
    checkpoints: Path | None = None,
    device: str = "auto",
    allowed: Callable[[], None] = lambda: None,
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
        prepared: folder in which workers share the encoded training set; None keeps it to this process.
        checkpoints: folder in which trials leave off and the best ones are kept; None keeps nothing.
        device: ``auto``, ``cpu`` or ``cuda``; for the families that can use a GPU.
        allowed: called before anything is written; raises when this worker lost its lease.

    Raises:
        TrainingError: the data cannot be learnt from, or the study belongs to other data or settings.
        LeaseLost: this worker may no longer write; nothing was written since it lost the lease.
    """
    store = open_store(storage, settings.heartbeat_seconds, settings.grace_seconds)
    budget = settings.trials if trials is None else trials
    try:
        devices = 1 if device == "cuda" else threads
        sweep = open_sweep(store, name, training_set.fingerprint, settings, budget, allowed, devices)
        before = progress_of(sweep.study)
        if before.finished:
            _log.info("%s; nothing left to run", before)
            return before
        worker = Worker(sweep, open_data(training_set, settings, prepared), threads, checkpoints, device)
        while (trial := sweep.claim()) is not None:
            worker.run(trial)
            _log.info("%s", progress_of(sweep.study))
        return progress_of(sweep.study)
    finally:
        store.storage.engine.dispose()


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
    best = next(iter(_ranked(study, trials)), None)
    total = study.user_attrs["budget"]

    def count(*states: TrialState) -> int:
        return sum(trial.state in states for trial in last)

    return Progress(
        study=study.study_name,
        metric=study.user_attrs["metric"],
        total=total,
        done=count(TrialState.COMPLETE),
        pruned=count(TrialState.PRUNED),
        failed=count(TrialState.FAIL),
        running=sum(trial.state == TrialState.RUNNING for trial in trials),
        lost=sum(slots.is_lost(trial) for trial in trials),
        best_value=None if best is None else best.value,
        best_trial=None if best is None else best.number,
        best_family=None if best is None else best.params[FAMILY],
        resumed=sum(RESUMED in trial.user_attrs for trial in trials),
        exhausted=None if len(last) >= total else budgets.exhausted(trials, study.user_attrs),
    )


def _ranked(study: optuna.Study, trials: list[FrozenTrial]) -> list[FrozenTrial]:
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    sign = -1.0 if study.direction == optuna.study.StudyDirection.MAXIMIZE else 1.0
    # a tie goes to the earlier trial, so that the winner does not depend on the database's order
    return sorted(done, key=lambda trial: (sign * (trial.value or 0.0), trial.number))


def best_trial(storage: str, name: str) -> BestTrial:
    """The study's winner; raises like :func:`best_trials`."""
    return best_trials(storage, name, 1)[0]


def best_trials(storage: str, name: str, most: int) -> list[BestTrial]:
    """Up to ``most`` of the study's best trials, the winner first.

    Raises:
        TrainingError: no trial was completed; states why they failed.
    """
    with reading(storage, name) as study:
        trials = study.get_trials(deepcopy=False)
        ranked, metric_name = _ranked(study, trials), study.user_attrs["metric"]
    if not ranked:
        reasons = sorted({str(trial.user_attrs.get(slots.REASON, "worker lost")) for trial in trials})
        raise TrainingError(f"study {name} has no completed trial: {'; '.join(reasons) or 'none was run'}")
    return [
        BestTrial(
            study=name,
            number=trial.number,
            family=trial.params[FAMILY],
            params=dict(trial.user_attrs["params"]),
            metric=metric_name,
            value=float(trial.value or 0.0),
        )
        for trial in ranked[:most]
    ]


def trials_table(storage: str, name: str) -> pa.Table:
    """Every attempt of the study, one row each, by number.

    Columns: number, slot, state, family, params (JSON object), value, seconds (wall), fit_seconds (wall of
    the fit alone, up to where it was pruned), steps reported,
    reason (of a failure), retry_of (number of the lost attempt that this one repeats), resumed_from (the
    step of the checkpoint that it went on from).
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
        ("resumed_from", pa.int64()),
        ("fit_seconds", pa.float64()),
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
        "resumed_from": trial.user_attrs.get(RESUMED),
        "fit_seconds": trial.user_attrs.get("fit_seconds"),
    }
