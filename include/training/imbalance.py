"""Methods against rare positives: a treatment of the training rows, and the correction of the predictions.

A model that learns from weighted or thinned-out rows learns the odds of a world in which positives are
more common by a known factor. Dividing its odds by that factor gives probabilities of the real one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from include.spec.training import Imbalance

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Treatment:
    """The treatment of the training rows.

    Attributes:
        rows: positions of the training rows to use, ascending; None for all of them.
        positive_weight: weight of a positive row; a negative one weighs 1.
        focal: exponent of the focal loss; None for the plain one.
        odds: factor by which the odds are raised.
    """

    rows: NDArray[np.int64] | None = None
    positive_weight: float = 1.0
    focal: float | None = None
    odds: float = 1.0


def treat(imbalance: Imbalance, y: Floats, seed: int) -> Treatment:
    """Return the treatment of the training labels ``y``; the same labels and seed give the same rows."""
    if imbalance.method == "none":
        return Treatment()
    if imbalance.method == "focal":
        return Treatment(focal=imbalance.gamma)
    positives = int(np.count_nonzero(y > 0.5))
    negatives = len(y) - positives
    if imbalance.method == "weights":
        weight = imbalance.positive_weight or negatives / positives
        return Treatment(positive_weight=weight, odds=weight)
    wanted = round(imbalance.negatives_per_positive * positives)
    if wanted >= negatives:
        return Treatment()
    drawn = np.random.default_rng(seed).choice(np.flatnonzero(y <= 0.5), wanted, replace=False)
    rows = np.sort(np.concatenate([np.flatnonzero(y > 0.5), drawn]))
    return Treatment(rows=rows.astype(np.int64), odds=negatives / wanted)


def corrected(predicted: Floats, odds: float) -> Floats:
    """Bring back probabilities whose odds were raised by ``odds``; odds of 1, as in a regression, change nothing."""
    if odds == 1.0:
        return predicted
    return predicted / (predicted + odds * (1 - predicted))


def focal_inverse(score: Floats, gamma: float) -> Floats:
    """Return the probability behind the score that minimises a focal loss.

    The focal loss is no proper scoring rule: its best score is nearer to one half than the true probability. The
    inverse is known in closed form (Charoenphakdee and others, "On focal loss for class-posterior
    probability estimation", CVPR 2021).
    """
    p = np.clip(score, 1e-7, 1 - 1e-7)
    positive, negative = _shares(p, gamma), _shares(1 - p, gamma)
    return np.asarray(positive / (positive + negative))


def _shares(p: Floats, gamma: float) -> Floats:
    rest = 1 - p
    return np.asarray(p / (rest**gamma - gamma * rest ** (gamma - 1) * p * np.log(p)))
