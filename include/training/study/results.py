"""The state and the results of a study, for readers that do not search."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import optuna
import pyarrow as pa
from optuna.trial import FrozenTrial, TrialState

from include.core.errors import TrainingError
from include.training.study import budget as budgets
from include.training.study import slots
from include.training.study.progress import Progress
from include.training.study.proposals import FAMILY
from include.training.study.storage import reading
from include.training.study.trial_runner import RESUMED


@dataclass(frozen=True)
class BestTrial:
    """The winner of a study: the parameters with which it is fitted again."""

    study: str
    number: int
    family: str
    params: dict[str, Any]
    metric: str
    value: float


def study_progress(storage: str, name: str) -> Progress:
    """Return the state of the study called ``name``; cheap enough to poll.

    Raises:
        TrainingError: there is no such study.
    """
    with reading(storage, name) as study:
        return progress_of(study)


def progress_of(study: optuna.Study) -> Progress:
    """Return the state of an open study."""
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
    """Return the study's winner; raises like :func:`best_trials`."""
    return best_trials(storage, name, 1)[0]


def best_trials(storage: str, name: str, most: int) -> list[BestTrial]:
    """Return up to ``most`` of the study's best trials, the winner first.

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
    """Return every attempt of the study, one row each, by number.

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
