"""Metrics that can be recomputed for many resamples of whole blocks of rows at once.

Rows of one block are correlated (one storm delays them all), so intervals come from resampling blocks,
not rows. Each metric first reduces its rows to sums of each block; a resample is then a weighted sum of
blocks. The area under the ROC curve reduces to counts of ordered pairs between two blocks.

Predictions have the shape (rows,), or (rows, classes) with the labels as positions of classes. A metric that is a mean
over classes leaves out those for which it is undefined: in the data, and in a resample that has no row of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from include.spec.families import METRICS, MetricInfo
from include.training.blocks import Codes
from include.training.predictions import most_likely, targets

Floats = NDArray[np.float64]
# weights of shape (resamples, blocks) -> values of shape (resamples,)
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
        blocks = np.zeros(len(y), dtype=np.int64)
        return float(self.reduce(y, predicted, blocks, 1)(np.ones((1, 1)))[0])

    def worse(self, value: float, best: float) -> bool:
        """Return whether ``value`` is worse than ``best``."""
        return value < best if self.info.maximize else value > best


def _mean_of(loss: Callable[[Floats, Floats], Floats]) -> Reduce:
    def reduce(y: Floats, predicted: Floats, blocks: Codes, n_blocks: int) -> Resampler:
        sums = np.bincount(blocks, weights=loss(y, predicted), minlength=n_blocks)
        counts = np.bincount(blocks, minlength=n_blocks).astype(np.float64)
        return lambda weights: _ratio(weights @ sums, weights @ counts)

    return reduce


def _root(reduce: Reduce) -> Reduce:
    def rooted(y: Floats, predicted: Floats, blocks: Codes, n_blocks: int) -> Resampler:
        squared = reduce(y, predicted, blocks, n_blocks)
        return lambda weights: np.asarray(np.sqrt(squared(weights)))

    return rooted


def _ratio(above: Floats, below: Floats) -> Floats:
    undefined = np.full(np.shape(above), np.nan)
    return np.asarray(np.divide(above, below, out=undefined, where=below != 0))


def _log_loss(y: Floats, predicted: Floats) -> Floats:
    if predicted.ndim == 2:
        of_class = predicted[np.arange(len(y)), y.astype(np.int64)]
        return np.asarray(-np.log(np.clip(of_class, _SMALLEST_PROBABILITY, 1)))
    p = np.clip(predicted, _SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY)
    losses: Floats = -(y * np.log(p) + (1 - y) * np.log1p(-p))
    return losses


def _squared(y: Floats, predicted: Floats) -> Floats:
    return np.square(y - predicted)


def _absolute(y: Floats, predicted: Floats) -> Floats:
    return np.abs(y - predicted)


def _auc(y: Floats, predicted: Floats, blocks: Codes, n_blocks: int) -> Resampler:
    """Count pairs[a, b]: positives of block a scored above negatives of block b; a tie counts one half."""
    positive = y > 0.5
    n_positive = np.bincount(blocks[positive], minlength=n_blocks).astype(np.float64)
    n_negative = np.bincount(blocks[~positive], minlength=n_blocks).astype(np.float64)
    if np.isnan(predicted).any():
        return lambda weights: np.full(len(weights), np.nan)
    distinct, rank = np.unique(predicted, return_inverse=True)
    rank_positive, block_positive = rank[positive], blocks[positive]
    rank_negative, block_negative = rank[~positive], blocks[~positive]
    pairs = np.empty((n_blocks, n_blocks))
    for block in range(n_blocks):
        at = np.bincount(rank_negative[block_negative == block], minlength=len(distinct))
        below = np.cumsum(at) - at / 2
        pairs[:, block] = np.bincount(block_positive, weights=below[rank_positive], minlength=n_blocks)

    def resample(weights: Floats) -> Floats:
        ordered = np.einsum("ra,ab,rb->r", weights, pairs, weights, optimize=True)
        return _ratio(ordered, (weights @ n_positive) * (weights @ n_negative))

    return resample


def _calibration_error(y: Floats, predicted: Floats, blocks: Codes, n_blocks: int) -> Resampler:
    """Average the gap between predicted and observed rate over ten equally wide bins, weighted by rows."""
    if np.isnan(predicted).any():
        return lambda weights: np.full(len(weights), np.nan)
    bins = np.clip((predicted * _CALIBRATION_BINS).astype(np.int64), 0, _CALIBRATION_BINS - 1)
    cell = blocks * _CALIBRATION_BINS + bins
    gaps = np.bincount(cell, weights=predicted - y, minlength=n_blocks * _CALIBRATION_BINS)
    gaps = gaps.reshape(n_blocks, _CALIBRATION_BINS)
    counts = np.bincount(blocks, minlength=n_blocks).astype(np.float64)
    return lambda weights: _ratio(np.abs(weights @ gaps).sum(axis=1), weights @ counts)


def _right(y: Floats, predicted: Floats) -> Floats:
    """Return 1 where the most likely class is the row's own, and NaN where a prediction is."""
    return np.where(np.isnan(predicted).any(axis=1), np.nan, most_likely(predicted) == y)


def _recall_macro(y: Floats, predicted: Floats, blocks: Codes, n_blocks: int) -> Resampler:
    """Average over classes the share of a class's rows that were predicted to be of it."""
    own = targets(y, predicted.shape[1])
    hits = _sums(own * _right(y, predicted)[:, None], blocks, n_blocks)
    rows = _sums(own, blocks, n_blocks)
    return lambda weights: _mean_of_defined(_ratio(weights @ hits, weights @ rows))


def _auc_macro(y: Floats, predicted: Floats, blocks: Codes, n_blocks: int) -> Resampler:
    """Average over classes the area under the ROC curve of each against all others."""
    of_classes = [
        _auc(own, p, blocks, n_blocks) for own, p in zip(targets(y, predicted.shape[1]).T, predicted.T, strict=True)
    ]
    return lambda weights: _mean_of_defined(np.stack([resample(weights) for resample in of_classes], axis=1))


def _sums(values: Floats, blocks: Codes, n_blocks: int) -> Floats:
    """Add up each column within each block; shape (blocks, columns)."""
    return np.stack([np.bincount(blocks, weights=column, minlength=n_blocks) for column in values.T], axis=1)


def _mean_of_defined(values: Floats) -> Floats:
    """Return the mean of each row's numbers, NaN left out; NaN for a row of nothing else."""
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1).astype(np.float64))


_REDUCTIONS: Mapping[str, Reduce] = {
    "log_loss": _mean_of(_log_loss),
    "brier": _mean_of(_squared),
    "auc": _auc,
    "calibration_error": _calibration_error,
    "rmse": _root(_mean_of(_squared)),
    "mae": _mean_of(_absolute),
    "auc_macro": _auc_macro,
    "accuracy": _mean_of(_right),
    "recall_macro": _recall_macro,
}


def metric(name: str) -> Metric:
    """Return the metric called ``name``; names are checked when a spec loads."""
    return Metric(name, METRICS[name], _REDUCTIONS[name])


def metrics_for(task: str) -> tuple[Metric, ...]:
    """Return every metric that suits ``task``, in the order of ``include.spec.families``."""
    return tuple(metric(name) for name, info in METRICS.items() if task in info.tasks)
