"""The time that a study has used, computed from its trials: it adds up over restarts and over all workers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from optuna.trial import FrozenTrial, TrialState

DEVICES = "devices"
TIME, DEVICE_TIME = "time_budget_seconds", "device_budget_seconds"


def busy_seconds(trials: Iterable[FrozenTrial], now: datetime) -> float:
    """Return the seconds with at least one running trial; ``now`` is local time without a zone, as Optuna keeps it."""
    total, until = 0.0, datetime.min
    for begin, end in sorted(_spans(trials, now)):
        total += max((end - max(begin, until)).total_seconds(), 0.0) if end > until else 0.0
        until = max(until, end)
    return total


def device_seconds(trials: Iterable[FrozenTrial], now: datetime) -> float:
    """Return the device seconds: the sum over trials of their time multiplied by their devices."""
    held = [trial for trial in trials if trial.datetime_start is not None]
    return sum(
        (end - begin).total_seconds() * float(trial.user_attrs.get(DEVICES, 1))
        for trial, (begin, end) in zip(held, _spans(held, now), strict=True)
    )


def exhausted(trials: list[FrozenTrial], limits: Mapping[str, Any], now: datetime | None = None) -> str | None:
    """Say which of the study's ``limits`` (seconds, or None for no limit) is used up; None while none is."""
    now = now or datetime.now()
    spent = {TIME: busy_seconds, DEVICE_TIME: device_seconds}
    for name, measure in spent.items():
        limit = limits.get(name)
        if limit is not None and measure(trials, now) >= limit:
            return f"{name.replace('_seconds', '').replace('_', ' ')} of {limit:g} s is used up"
    return None


def _spans(trials: Iterable[FrozenTrial], now: datetime) -> list[tuple[datetime, datetime]]:
    return [
        (trial.datetime_start, now if trial.state == TrialState.RUNNING else trial.datetime_complete or now)
        for trial in trials
        if trial.datetime_start is not None
    ]
