"""Intervals from resampling whole days."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from include.training.interval import Difference, Interval
from include.training.judging.metrics import Codes, Floats, Metric


def interval(metric: Metric, y: Floats, predicted: Floats, days: Codes, *, resamples: int, seed: int) -> Interval:
    """The metric's value and its 95 % percentile interval over resampled days."""
    n_days = int(days.max()) + 1
    resample = metric.reduce(y, predicted, days, n_days)
    value = float(resample(np.ones((1, n_days)))[0])
    low, high = _bounds(resample(_day_weights(n_days, resamples, seed)), n_days)
    return Interval(value=_finite(value), low=low, high=high, days=n_days, rows=len(y))


def paired_difference(
    metric: Metric,
    y: Floats,
    candidate: Floats,
    other: Floats,
    days: Codes,
    *,
    resamples: int,
    seed: int,
) -> Difference:
    """How much ``candidate`` differs from ``other`` when both meet the same resampled days."""
    n_days = int(days.max()) + 1
    ours = metric.reduce(y, candidate, days, n_days)
    theirs = metric.reduce(y, other, days, n_days)
    once = np.ones((1, n_days))
    value = float(ours(once)[0] - theirs(once)[0])
    weights = _day_weights(n_days, resamples, seed)
    low, high = _bounds(ours(weights) - theirs(weights), n_days)
    above = low is not None and low > 0
    below = high is not None and high < 0
    return Difference(
        value=_finite(value),
        low=low,
        high=high,
        days=n_days,
        rows=len(y),
        better=above if metric.info.maximize else below,
        worse=below if metric.info.maximize else above,
    )


def _day_weights(n_days: int, resamples: int, seed: int) -> NDArray[np.float64]:
    draw = np.random.default_rng(seed).multinomial(n_days, np.full(n_days, 1 / n_days), size=resamples)
    return draw.astype(np.float64)


def _bounds(values: Floats, n_days: int) -> tuple[float | None, float | None]:
    # a resample of days with one class only has no AUC; it says nothing and is left out
    values = values[np.isfinite(values)]
    if n_days < 2 or not len(values):
        return None, None
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
