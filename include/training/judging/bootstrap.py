"""Intervals of metrics, from resampling whole blocks of rows: days of an hourly use case, else periods."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from include.training.blocks import Codes
from include.training.interval import Difference, Interval
from include.training.judging.metrics import Floats, Metric


def interval(metric: Metric, y: Floats, predicted: Floats, blocks: Codes, *, resamples: int, seed: int) -> Interval:
    """Return the metric's value and its 95 % percentile interval over resampled blocks."""
    n_blocks = int(blocks.max()) + 1
    resample = metric.reduce(y, predicted, blocks, n_blocks)
    value = float(resample(np.ones((1, n_blocks)))[0])
    low, high = _bounds(resample(_block_weights(n_blocks, resamples, seed)), n_blocks)
    return Interval(value=_finite(value), low=low, high=high, days=n_blocks, rows=len(y))


def paired_difference(
    metric: Metric,
    y: Floats,
    candidate: Floats,
    other: Floats,
    blocks: Codes,
    *,
    resamples: int,
    seed: int,
) -> Difference:
    """Return how much ``candidate`` differs from ``other`` on the same resampled blocks."""
    n_blocks = int(blocks.max()) + 1
    ours = metric.reduce(y, candidate, blocks, n_blocks)
    theirs = metric.reduce(y, other, blocks, n_blocks)
    once = np.ones((1, n_blocks))
    value = float(ours(once)[0] - theirs(once)[0])
    weights = _block_weights(n_blocks, resamples, seed)
    low, high = _bounds(ours(weights) - theirs(weights), n_blocks)
    above = low is not None and low > 0
    below = high is not None and high < 0
    return Difference(
        value=_finite(value),
        low=low,
        high=high,
        days=n_blocks,
        rows=len(y),
        better=above if metric.info.maximize else below,
        worse=below if metric.info.maximize else above,
    )


def _block_weights(n_blocks: int, resamples: int, seed: int) -> NDArray[np.float64]:
    draw = np.random.default_rng(seed).multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), size=resamples)
    return draw.astype(np.float64)


def _bounds(values: Floats, n_blocks: int) -> tuple[float | None, float | None]:
    # a resample with one class only has no AUC and is left out
    values = values[np.isfinite(values)]
    if n_blocks < 2 or not len(values):
        return None, None
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
