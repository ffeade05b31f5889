"""Slots of a study: a budget of N trials is N slots, and a slot is settled once.

A retry of a lost trial, whose worker died, takes over the trial's slot, so that retries never use up the budget and
the budget is never exceeded. The functions read a list of trials and nothing else; callers hold the study's lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from optuna.trial import FrozenTrial, TrialState

SLOT = "slot"
REASON = "reason"
RETRY_OF = "retry_of"
_ALIVE = (TrialState.RUNNING, TrialState.WAITING)


@dataclass(frozen=True)
class Next:
    """The next step of a worker that asks for work.

    ``start`` opens a new slot, ``retry`` runs ``lost`` again in its slot, ``resume`` takes a trial
    that was queued and never begun, ``wait`` means that others are still running, ``finished`` that
    every slot is settled.
    """

    act: Literal["start", "retry", "resume", "wait", "finished"]
    slot: int = -1
    lost: FrozenTrial | None = None


def is_lost(trial: FrozenTrial) -> bool:
    """Return whether a trial ended because its worker died: a failure of the trial itself states a reason."""
    return trial.state == TrialState.FAIL and REASON not in trial.user_attrs


def next_step(trials: Sequence[FrozenTrial], budget: int, retries: int) -> Next:
    """Return the next step, given all trials of the study."""
    slots = _by_slot(trials)
    if any(trial.state == TrialState.WAITING for trial in trials):
        return Next("resume")
    for slot, attempts in sorted(slots.items()):
        if all(is_lost(trial) for trial in attempts) and len(attempts) <= retries:
            return Next("retry", slot, attempts[-1])
    if len(slots) < budget:
        return Next("start", next(slot for slot in range(budget) if slot not in slots))
    return Next("wait" if any(trial.state in _ALIVE for trial in trials) else "finished")


def settled(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Return the last attempt of each slot, in slot order."""
    return [attempts[-1] for _, attempts in sorted(_by_slot(trials).items())]


def _by_slot(trials: Iterable[FrozenTrial]) -> dict[int, list[FrozenTrial]]:
    slots: dict[int, list[FrozenTrial]] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        slots.setdefault(trial.user_attrs[SLOT], []).append(trial)
    return slots
