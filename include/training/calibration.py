"""Calibration of probabilities: isotonic, kept as two arrays, and of classes by one temperature."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_DRAWN_ROWS = 10
_SMALLEST_PROBABILITY = 1e-12
_TEMPERATURES = (0.05, 20.0)


class Calibrator(Protocol):
    """A map from a model's own probabilities to calibrated ones, learnt on rows that the model was not fitted on."""

    @classmethod
    def learn(cls, y: Floats, predicted: Floats) -> Self:
        """Fit on labels and predictions of the validation window."""

    def apply(self, predicted: Floats) -> Floats:
        """Return calibrated probabilities, of the same shape."""

    def save(self, path: Path) -> None:
        """Write the map as JSON."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what ``save`` wrote."""


@dataclass(frozen=True)
class Isotonic:
    """A rising map from raw to calibrated probability, linear between its knots."""

    raw: Floats
    calibrated: Floats

    @classmethod
    def learn(cls, y: Floats, predicted: Floats) -> Isotonic:
        """Fit on rows the model was not fitted on.

        Plain isotonic regression ends in blocks of a few rows that all had one outcome, and claims
        certainty there; one later row that disagrees then costs an unbounded log loss. So each block
        is drawn towards the mean label by a few rows, and the result is made monotone again.
        """
        from sklearn.isotonic import IsotonicRegression

        fitted = IsotonicRegression(out_of_bounds="clip").fit(predicted, y)
        knots = np.asarray(fitted.y_thresholds_, dtype=np.float64)
        levels, rows = np.unique(fitted.predict(predicted), return_counts=True)
        drawn = (levels * rows + y.mean() * _DRAWN_ROWS) / (rows + _DRAWN_ROWS)
        risen = IsotonicRegression().fit_transform(np.arange(len(levels)), drawn, sample_weight=rows)
        # a block's two knots carry its level; interpolated rows in between carry levels of their own
        calibrated = np.interp(knots, levels, risen)
        return cls(np.asarray(fitted.X_thresholds_, dtype=np.float64), calibrated)

    def apply(self, predicted: Floats) -> Floats:
        """Return calibrated probabilities; values outside the learnt range take its nearest end."""
        return np.interp(predicted, self.raw, self.calibrated)

    def save(self, path: Path) -> None:
        """Write both arrays as JSON."""
        path.write_text(
            json.dumps({"raw": self.raw.tolist(), "calibrated": self.calibrated.tolist()}), encoding="utf-8"
        )

    @classmethod
    def load(cls, path: Path) -> Isotonic:
        """Read what :meth:`save` wrote."""
        arrays = json.loads(path.read_text(encoding="utf-8"))
        return cls(np.asarray(arrays["raw"]), np.asarray(arrays["calibrated"]))


@dataclass(frozen=True)
class Temperature:
    """One number that divides the log probabilities of all classes: above 1 predictions become less certain.

    Guo and others, "On calibration of modern neural networks" (ICML 2017, arXiv:1706.04599). One parameter hardly fits
    chance, and the order of a row's classes stays as it is. It cannot mend one class that is predicted too often.
    """

    value: float

    @classmethod
    def learn(cls, y: Floats, predicted: Floats) -> Temperature:
        """Find the temperature with the least log loss; 1 where no other is better."""
        from scipy.optimize import minimize_scalar

        rows, own = np.arange(len(y)), y.astype(np.int64)

        def loss(log_temperature: float) -> float:
            of_class = cls(float(np.exp(log_temperature))).apply(predicted)[rows, own]
            return float(-np.log(np.clip(of_class, _SMALLEST_PROBABILITY, 1)).mean())

        found = minimize_scalar(loss, bounds=tuple(np.log(_TEMPERATURES)), method="bounded")
        return cls(float(np.exp(found.x)) if found.fun < loss(0.0) else 1.0)

    def apply(self, predicted: Floats) -> Floats:
        """Return calibrated probabilities, shape (rows, classes); each row adds up to 1."""
        scores = np.log(np.clip(predicted, _SMALLEST_PROBABILITY, 1)) / self.value
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def save(self, path: Path) -> None:
        """Write the temperature as JSON."""
        path.write_text(json.dumps({"temperature": self.value}), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Temperature:
        """Read what :meth:`save` wrote."""
        return cls(float(json.loads(path.read_text(encoding="utf-8"))["temperature"]))


CALIBRATORS: Mapping[str, type[Calibrator]] = {"isotonic": Isotonic, "temperature": Temperature}
"""The calibrators, by their names in a spec."""
