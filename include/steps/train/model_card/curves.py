"""The learning curves of a study, as its trials reported them."""

from __future__ import annotations

from dataclasses import dataclass

from optuna.trial import TrialState

from include.training.study.shared_study import FAMILY
from include.training.study.storage import reading


@dataclass(frozen=True)
class Curve:
    """One trial: ``points`` are its steps and the metric after each, ``value`` what it came to."""

    trial: int
    family: str
    state: str
    points: tuple[tuple[int, float], ...]
    value: float | None


def curves(storage: str, study: str) -> list[Curve]:
    """The curve of every trial that reported anything or finished, by number.

    Raises:
        TrainingError: there is no such study.
    """
    with reading(storage, study) as found:
        trials = found.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
    return [
        Curve(
            trial=trial.number,
            family=str(trial.params.get(FAMILY, "unknown")),
            state=trial.state.name.lower(),
            points=tuple(sorted(trial.intermediate_values.items())),
            value=trial.value if trial.state == TrialState.COMPLETE else None,
        )
        for trial in sorted(trials, key=lambda one: one.number)
        if trial.intermediate_values or trial.value is not None
    ]
