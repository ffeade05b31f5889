"""Isotonic calibration, kept as two arrays."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Isotonic:
    """A rising step-free map from raw to calibrated probability, linear between its knots."""

    raw: Floats
    calibrated: Floats

    @classmethod
    def learn(cls, y: Floats, predicted: Floats) -> Isotonic:
        """Fit on rows the model was not fitted on.

        A block of rows that are all of one class would claim certainty, which costs an unbounded log
        loss once; calibrated values keep a distance of 1 / (rows + 2) from 0 and 1.
        """
        from sklearn.isotonic import IsotonicRegression

        fitted = IsotonicRegression(out_of_bounds="clip").fit(predicted, y)
        margin = 1 / (len(y) + 2)
        knots = np.clip(np.asarray(fitted.y_thresholds_, dtype=np.float64), margin, 1 - margin)
        return cls(np.asarray(fitted.X_thresholds_, dtype=np.float64), knots)

    def apply(self, predicted: Floats) -> Floats:
        """Calibrated probabilities; values outside the learnt range take its nearest end."""
        return np.interp(predicted, self.raw, self.calibrated)

    def save(self, path: Path) -> None:
        """Write both arrays as JSON."""
        path.write_text(json.dumps({"raw": self.raw.tolist(), "calibrated": self.calibrated.tolist()}))

    @classmethod
    def load(cls, path: Path) -> Isotonic:
        """Read what :meth:`save` wrote."""
        arrays = json.loads(path.read_text())
        return cls(np.asarray(arrays["raw"]), np.asarray(arrays["calibrated"]))
