"""A weighted mean of models, chosen greedily from the best trials.

Caruana and others, "Ensemble selection from libraries of models" (ICML 2004): begin with the best, add
whichever model improves the mean most, as long as one does; a model may be added again, which weighs it.
Weights chosen on the very days they are judged by would flatter the blend, so it is judged by weights
that were chosen on the other half of the days, and kept only if it beats the best single trial clearly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from include.training.data import Floats
from include.training.interval import Difference
from include.training.judging.bootstrap import paired_difference
from include.training.judging.metrics import Metric

_ROUNDS = 20
_BLOCKS = 4


@dataclass(frozen=True)
class Choice:
    """What a blend of the trials would be: its weights, and how it compares with the best trial."""

    weights: tuple[float, ...]
    difference: Difference

    @property
    def better(self) -> bool:
        """Whether it is more than the best trial alone, and better by the whole interval."""
        return self.difference.better and sum(weight > 0 for weight in self.weights) > 1


def choose(
    metric: Metric,
    y: Floats,
    predictions: Sequence[Floats],
    days: NDArray[np.int64],
    *,
    resamples: int,
    seed: int,
) -> Choice:
    """Weights for ``predictions`` (best first, each of shape (rows,)) and the evidence for them."""
    # neighbouring days are alike: alternate quarters of the window, not days
    half = (days * _BLOCKS // (int(days.max()) + 1)) % 2 == 0
    unseen = np.empty(len(y))
    for mine in (half, ~half):
        weights = greedy(metric, y[~mine], [one[~mine] for one in predictions])
        unseen[mine] = sum(weight * one[mine] for weight, one in zip(weights, predictions, strict=True))
    difference = paired_difference(metric, y, unseen, predictions[0], days, resamples=resamples, seed=seed)
    return Choice(greedy(metric, y, predictions), difference)


def greedy(metric: Metric, y: Floats, predictions: Sequence[Floats]) -> tuple[float, ...]:
    """Weights that add up to 1; all on the first where nothing helps or the metric is undefined."""
    counts = np.zeros(len(predictions))
    counts[0] = 1
    total, best = predictions[0].copy(), metric.value(y, predictions[0])
    for size in range(2, _ROUNDS + 2):
        values = [metric.value(y, (total + one) / size) for one in predictions]
        order = -np.asarray(values) if metric.info.maximize else np.asarray(values)
        if not np.isfinite(order).any():
            break
        at = int(np.nanargmin(order))
        if not metric.worse(best, values[at]):
            break
        counts[at] += 1
        total, best = total + predictions[at], values[at]
    return tuple((counts / counts.sum()).tolist())
