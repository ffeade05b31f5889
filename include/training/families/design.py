"""The design matrix of linear models: standardised numbers, missing marks, one column per category."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped, unused-ignore]

from include.training.data import Encoding, Floats, Matrix, Rows

# one broken sensor reading must not dominate a linear model
_FURTHEST = 8.0
_LARGEST = float(np.finfo(np.float32).max)
_SLAB = 32_768


def limited(threads: int) -> AbstractContextManager[object]:
    """Limit linear algebra to ``threads``; by default every worker would take every core."""
    limits: AbstractContextManager[object] = threadpool_limits(threads)
    return limits


@dataclass(frozen=True)
class Design:
    """The map from encoded features to the columns of a linear model.

    Attributes:
        numeric: positions of the numeric features.
        mean: their train means; null takes it.
        scale: their train deviations.
        marked: positions of features that get a 0/1 column for being null.
        categorical: positions and category counts of categorical features; null is all zeros.
    """

    numeric: tuple[int, ...]
    mean: Floats
    scale: Floats
    marked: tuple[int, ...]
    categorical: tuple[tuple[int, int], ...]

    @classmethod
    def learn(cls, x: Matrix, encoding: Encoding) -> Design:
        """Learn means and deviations of the train window ``x``."""
        categorical = tuple(
            (i, len(feature.categories))
            for i, feature in enumerate(encoding.features)
            if feature.categories is not None
        )
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
        return cls(numeric, np.asarray(means), np.asarray(scales), tuple(marked), categorical)

    @property
    def width(self) -> int:
        """Return the number of columns of the design matrix."""
        return len(self.numeric) + len(self.marked) + sum(count for _, count in self.categorical)

    def apply(self, x: Matrix) -> Matrix:
        """Make the design matrix of encoded rows, float32, shape (rows, width)."""
        # columns are written one after the other, so column order is fastest
        out = np.zeros((len(x), self.width), dtype=np.float32, order="F")
        for at, i in enumerate(self.numeric):
            standard = (x[:, i] - self.mean[at]) / self.scale[at]
            out[:, at] = np.clip(np.nan_to_num(standard, nan=0.0), -_FURTHEST, _FURTHEST)
        at = len(self.numeric)
        for i in self.marked:
            out[:, at] = np.isnan(x[:, i])
            at += 1
        for i, count in self.categorical:
            known = np.flatnonzero(np.isfinite(x[:, i]))
            out[known, at + x[known, i].astype(np.int64)] = 1.0
            at += count
        return out

    def as_json(self) -> dict[str, Any]:
        """Return the design as plain values; :meth:`of_json` reads them."""
        return {
            "numeric": self.numeric,
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
            "marked": self.marked,
            "categorical": self.categorical,
        }

    @classmethod
    def of_json(cls, state: Mapping[str, Any]) -> Design:
        """Make a design of the values that :meth:`as_json` returned."""
        return cls(
            tuple(state["numeric"]),
            np.asarray(state["mean"], dtype=np.float64),
            np.asarray(state["scale"], dtype=np.float64),
            tuple(state["marked"]),
            tuple((i, count) for i, count in state["categorical"]),
        )

    def origin(self) -> NDArray[np.int64]:
        """Return the feature that each design column comes from, shape (width,)."""
        from_categories = [i for i, count in self.categorical for _ in range(count)]
        return np.asarray([*self.numeric, *self.marked, *from_categories], dtype=np.int64)


@dataclass(frozen=True)
class LinearModel:
    """Coefficients over a design: one column of them, or one a class.

    Attributes:
        coefficients: shape (width,), or (width, classes).
        intercept: a number, or one a class.
        logit: whether the sum passes through the logistic function; sums of classes always pass through softmax.
    """

    design: Design
    coefficients: Floats
    intercept: float | Floats
    logit: bool

    def predict(self, x: Matrix, threads: int = 1) -> Floats:
        """Predict probabilities or values, shape (rows,), or of classes, shape (rows, classes)."""
        score = np.empty((len(x), *self.coefficients.shape[1:]))
        with limited(threads):
            # the product widens the design to float64: one slab at a time keeps memory flat
            for begin in range(0, len(x), _SLAB):
                rows = slice(begin, begin + _SLAB)
                score[rows] = self.design.apply(x[rows]) @ self.coefficients + self.intercept
        if score.ndim == 2:
            powers = np.exp(score - score.max(axis=1, keepdims=True))
            return np.asarray(powers / powers.sum(axis=1, keepdims=True))
        if not self.logit:
            return score
        # exp of a large negative number underflows to 0, of a large positive one overflows
        small = np.exp(-np.abs(score))
        return np.where(score >= 0, 1 / (1 + small), small / (1 + small))

    def importance(self) -> Floats:
        """Sum absolute coefficients (of numbers: per deviation) by feature, over all classes."""
        features = len(self.design.numeric) + len(self.design.categorical)
        sizes = np.abs(self.coefficients).reshape(self.design.width, -1).sum(axis=1)
        return np.bincount(self.design.origin(), sizes, minlength=features).astype(np.float64)

    def save(self, folder: Path) -> None:
        """Write design and coefficients as JSON."""
        state = self.design.as_json() | {
            "coefficients": self.coefficients.tolist(),
            "intercept": np.asarray(self.intercept).tolist(),
            "logit": self.logit,
        }
        (folder / "linear.json").write_text(json.dumps(state), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> LinearModel:
        """Read what :meth:`save` wrote."""
        state = json.loads((folder / "linear.json").read_text(encoding="utf-8"))
        design, intercept = Design.of_json(state), state["intercept"]
        found = np.asarray(intercept) if isinstance(intercept, list) else float(intercept)
        return cls(design, np.asarray(state["coefficients"]), found, state["logit"])


@dataclass(frozen=True)
class Designed:
    """The train window as a design matrix, the valid window still encoded."""

    design: Design
    train: Matrix
    train_y: Floats
    valid_x: Matrix
    valid_y: Floats


def designed(train: Rows, valid: Rows) -> Designed:
    """Learn the design from the train window and apply it: this is quicker than reading a kept one."""
    design = Design.learn(train.x, train.encoding)
    return Designed(design, design.apply(train.x), train.y, valid.x, valid.y)
