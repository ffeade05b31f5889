"""Metrics that can be recomputed for many resamples of whole days at once.

Rows of one day are correlated (one storm delays them all), so intervals come from resampling days,
not rows. Each metric first reduces its rows to per-day sums; a resample is then a weighted sum of
days. The area under the ROC curve reduces to counts of ordered pairs between two days.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from include.spec.families import METRICS, MetricInfo

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
# weights of shape (resamples, days) -> values of shape (resamples,)
Resampler = Callable[[Floats], Floats]
Reduce = Callable[[Floats, Floats, Codes, int], Resampler]

_SMALLEST_PROBABILITY = 1e-12
_CALIBRATION_BINS = 10


@dataclass(frozen=True)
class Metric:
    """A named metric of labels and predictions."""

    name: str
    info: MetricInfo
    reduce: Reduce

    def value(self, y: Floats, predicted: Floats) -> float:
        """Return the metric over all rows; NaN where it is undefined (one class only, NaN predictions)."""
        days = np.zeros(len(y), dtype=np.int64)
        return float(self.reduce(y, predicted, days, 1)(np.ones((1, 1)))[0])

    def worse(self, value: float, best: float) -> bool:
        """Return whether ``value`` is worse than ``best``."""
        return value < best if self.info.maximize else value > best


def _mean_of(loss: Callable[[Floats, Floats], Floats]) -> Reduce:
    def reduce(y: Floats, predicted: Floats, days: Codes, n_days: int) -> Resampler:
        sums = np.bincount(days, weights=loss(y, predicted), minlength=n_days)
        counts = np.bincount(days, minlength=n_days).astype(np.float64)
        return lambda weights: _ratio(weights @ sums, weights @ counts)

    return reduce


def _root(reduce: Reduce) -> Reduce:
    def rooted(y: Floats, predicted: Floats, days: Codes, n_days: int) -> Resampler:
        squared = reduce(y, predicted, days, n_days)
        return lambda weights: np.asarray(np.sqrt(squared(weights)))

    return rooted


def _ratio(above: Floats, below: Floats) -> Floats:
    undefined = np.full(np.shape(above), np.nan)
    return np.asarray(np.divide(above, below, out=undefined, where=below != 0))


def _log_loss(y: Floats, predicted: Floats) -> Floats:
    p = np.clip(predicted, _SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY)
    losses: Floats = -(y * np.log(p) + (1 - y) * np.log1p(-p))
    return losses


def _squared(y: Floats, predicted: Floats) -> Floats:
    return np.square(y - predicted)


def _absolute(y: Floats, predicted: Floats) -> Floats:
    return np.abs(y - predicted)


def _auc(y: Floats, predicted: Floats, days: Codes, n_days: int) -> Resampler:
    """Count pairs[a, b]: positives of day a scored above negatives of day b; a tie counts one half."""
    positive = y > 0.5
    n_positive = np.bincount(days[positive], minlength=n_days).astype(np.float64)
    n_negative = np.bincount(days[~positive], minlength=n_days).astype(np.float64)
    if np.isnan(predicted).any():
        return lambda weights: np.full(len(weights), np.nan)
    distinct, rank = np.unique(predicted, return_inverse=True)
    rank_positive, day_positive = rank[positive], days[positive]
    rank_negative, day_negative = rank[~positive], days[~positive]
    pairs = np.empty((n_days, n_days))
    for day in range(n_days):
        at = np.bincount(rank_negative[day_negative == day], minlength=len(distinct))
        below = np.cumsum(at) - at / 2
        pairs[:, day] = np.bincount(day_positive, weights=below[rank_positive], minlength=n_days)

    def resample(weights: Floats) -> Floats:
        ordered = np.einsum("ra,ab,rb->r", weights, pairs, weights, optimize=True)
        return _ratio(ordered, (weights @ n_positive) * (weights @ n_negative))

    return resample


def _calibration_error(y: Floats, predicted: Floats, days: Codes, n_days: int) -> Resampler:
    """Average the gap between predicted and observed rate over ten equally wide bins, weighted by rows."""
    if np.isnan(predicted).any():
        return lambda weights: np.full(len(weights), np.nan)
    bins = np.clip((predicted * _CALIBRATION_BINS).astype(np.int64), 0, _CALIBRATION_BINS - 1)
    cell = days * _CALIBRATION_BINS + bins
    gaps = np.bincount(cell, weights=predicted - y, minlength=n_days * _CALIBRATION_BINS)
    gaps = gaps.reshape(n_days, _CALIBRATION_BINS)
    counts = np.bincount(days, minlength=n_days).astype(np.float64)
    return lambda weights: _ratio(np.abs(weights @ gaps).sum(axis=1), weights @ counts)


_REDUCTIONS: Mapping[str, Reduce] = {
    "log_loss": _mean_of(_log_loss),
    "brier": _mean_of(_squared),
    "auc": _auc,
    "calibration_error": _calibration_error,
    "rmse": _root(_mean_of(_squared)),
    "mae": _mean_of(_absolute),
}


def metric(name: str) -> Metric:
    """Return the metric called ``name``; names are checked when a spec loads."""
    return Metric(name, METRICS[name], _REDUCTIONS[name])


def metrics_for(task: str) -> tuple[Metric, ...]:
    """Return every metric that suits ``task``, in the order of ``include.spec.families``."""
    return tuple(metric(name) for name, info in METRICS.items() if task in info.tasks)
