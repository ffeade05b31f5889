"""The weights of a blend, chosen greedily from the best trials.

Caruana and others, "Ensemble selection from libraries of models" (ICML 2004): begin with the best model and add the
model that improves the mean most, as long as one does. A model that is added again weighs more. Weights that are judged
on the rows on which they were chosen would flatter the blend. So each half of the window is judged by weights chosen
on the other half, and the blend is kept only if it beats the best single trial by the whole interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from include.training.blocks import Codes
from include.training.data import Floats
from include.training.interval import Difference
from include.training.judging.bootstrap import paired_difference
from include.training.judging.metrics import Metric

_ROUNDS = 20
_QUARTERS = 4


@dataclass(frozen=True)
class Choice:
    """The weights of a blend of the trials, and its difference from the best trial."""

    weights: tuple[float, ...]
    difference: Difference

    @property
    def better(self) -> bool:
        """Return whether the blend has two members or more and is better by the whole interval."""
        return self.difference.better and sum(weight > 0 for weight in self.weights) > 1


def choose(
    metric: Metric,
    y: Floats,
    predictions: Sequence[Floats],
    blocks: Codes,
    *,
    resamples: int,
    seed: int,
) -> Choice:
    """Choose weights for ``predictions`` (best first, all of one shape) and compare the blend with the best."""
    # neighbouring blocks are alike: alternate quarters of the window, not blocks
    half = (blocks * _QUARTERS // (int(blocks.max()) + 1)) % 2 == 0
    unseen = np.empty_like(predictions[0])
    for mine in (half, ~half):
        weights = greedy(metric, y[~mine], [one[~mine] for one in predictions])
        unseen[mine] = sum(weight * one[mine] for weight, one in zip(weights, predictions, strict=True))
    difference = paired_difference(metric, y, unseen, predictions[0], blocks, resamples=resamples, seed=seed)
    return Choice(greedy(metric, y, predictions), difference)


def greedy(metric: Metric, y: Floats, predictions: Sequence[Floats]) -> tuple[float, ...]:
    """Choose weights that add up to 1; the first gets all if no other helps or the metric is undefined."""
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
