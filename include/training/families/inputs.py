"""The inputs of networks: standardised numbers, marks for missing ones, a code per category."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from include.training.data import Encoding, Floats, Matrix, Rows

Codes = NDArray[np.int64]

# one broken sensor reading must not saturate a whole network
_FURTHEST = 5.0
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Inputs:
    """The map from encoded features to a network's inputs.

    Attributes:
        numeric: positions of the numeric features; null becomes the mean, which is 0.
        mean: their train means.
        scale: their train deviations.
        marked: positions of features that get a 0/1 column for being null.
        categorical: positions and category counts; code 0 stands for null and for the never seen.
    """

    numeric: tuple[int, ...]
    mean: Floats
    scale: Floats
    marked: tuple[int, ...]
    categorical: tuple[tuple[int, int], ...]

    @classmethod
    def learn(cls, x: Matrix, encoding: Encoding) -> Inputs:
        """Learn means and deviations of the train window ``x``."""
        numeric = tuple(i for i, feature in enumerate(encoding.features) if feature.categories is None)
        means, scales, marked = [], [], []
        for i in numeric:
            column = x[:, i].astype(np.float64)
            # squares of larger numbers overflow; they count as infinite, and are cut like every outlier
            known = column[np.abs(column) <= _LARGEST]
            means.append(float(known.mean()) if len(known) else 0.0)
            deviation = float(known.std()) if len(known) else 0.0
            scales.append(deviation if deviation > 0 else 1.0)
            if 0 < len(known) < len(column):
                marked.append(i)
        categorical = tuple(
            (i, len(feature.categories))
            for i, feature in enumerate(encoding.features)
            if feature.categories is not None
        )
        return cls(numeric, np.asarray(means), np.asarray(scales), tuple(marked), categorical)

    @property
    def width(self) -> int:
        """Return the number of columns of :meth:`numbers`."""
        return len(self.numeric) + len(self.marked)

    def numbers(self, x: Matrix) -> Matrix:
        """Return numbers, then marks; shape (rows, width)."""
        out = np.empty((len(x), self.width), dtype=np.float32)
        for at, i in enumerate(self.numeric):
            standard = (x[:, i] - self.mean[at]) / self.scale[at]
            out[:, at] = np.clip(np.nan_to_num(standard, nan=0.0), -_FURTHEST, _FURTHEST)
        for at, i in enumerate(self.marked):
            out[:, len(self.numeric) + at] = np.isnan(x[:, i])
        return out

    def codes(self, x: Matrix) -> Codes:
        """Return category codes from 0 to the count; shape (rows, categorical features)."""
        out = np.zeros((len(x), len(self.categorical)), dtype=np.int64)
        for at, (i, _) in enumerate(self.categorical):
            out[:, at] = np.nan_to_num(x[:, i], nan=-1.0).astype(np.int64) + 1
        return out

    def as_json(self) -> dict[str, Any]:
        """Return the inputs as plain values; :meth:`of_json` reads them."""
        return {
            "numeric": self.numeric,
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
            "marked": self.marked,
            "categorical": self.categorical,
        }

    @classmethod
    def of_json(cls, state: Mapping[str, Any]) -> Inputs:
        """Make inputs of the values that :meth:`as_json` returned."""
        return cls(
            tuple(state["numeric"]),
            np.asarray(state["mean"], dtype=np.float64),
            np.asarray(state["scale"], dtype=np.float64),
            tuple(state["marked"]),
            tuple((i, count) for i, count in state["categorical"]),
        )


@dataclass(frozen=True)
class Fed:
    """One window as a network reads it."""

    numbers: Matrix
    codes: Codes
    y: Floats


def fed(train: Rows, valid: Rows) -> tuple[Inputs, Fed, Fed]:
    """Make the inputs of both windows: this is quicker than reading them from a file."""
    inputs = Inputs.learn(train.x, train.encoding)
    made = [Fed(inputs.numbers(rows.x), inputs.codes(rows.x), rows.y) for rows in (train, valid)]
    return inputs, made[0], made[1]
