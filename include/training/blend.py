"""A weighted mean of models, chosen greedily from the best trials.

Caruana and others, "Ensemble selection from libraries of models" (ICML 2004): begin with the best, add
whichever model improves the mean most, as long as one does; a model may be added again, which weighs it.
Weights chosen on the very days they are judged by would flatter the blend, so it is judged by weights
that were chosen on the other half of the days, and kept only if it beats the best single trial clearly.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from include.training.data import Encoding, Floats, Matrix
from include.training.judging.bootstrap import Difference, paired_difference
from include.training.judging.metrics import Metric
from include.training.model import LoadedModel, load_model, save_model

BLEND = "blend"
_WEIGHTS = "weights.json"
_ROUNDS = 20
_BLOCKS = 4


@dataclass(frozen=True)
class Blend:
    """Models of the same features; ``weights`` add up to 1."""

    members: tuple[LoadedModel, ...]
    weights: tuple[float, ...]

    def predict(self, x: Matrix, threads: int = 1) -> Floats:
        """The weighted mean of the members' predictions, shape (rows,)."""
        out = np.zeros(len(x))
        for member, weight in zip(self.members, self.weights, strict=True):
            out += weight * member.predict_encoded(x, threads)
        return out

    def importance(self) -> Floats:
        """The weighted mean of the members' shares of importance."""
        shares = []
        for member, weight in zip(self.members, self.weights, strict=True):
            own = member.model.importance()
            shares.append(weight * own / (own.sum() or 1.0))
        return np.asarray(np.sum(shares, axis=0), dtype=np.float64)

    def save(self, folder: Path) -> None:
        """Write each member as the model directory it would be alone, and the weights."""
        for i, member in enumerate(self.members):
            save_model(member, folder / f"member-{i}")
        (folder / _WEIGHTS).write_text(json.dumps(self.weights))


def load_blend(folder: Path, encoding: Encoding) -> Blend:
    """Read what :meth:`Blend.save` wrote."""
    weights = tuple(float(weight) for weight in json.loads((folder / _WEIGHTS).read_text()))
    return Blend(tuple(load_model(folder / f"member-{i}") for i in range(len(weights))), weights)


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
