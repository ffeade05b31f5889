"""Isotonic calibration, kept as two arrays."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_DRAWN_ROWS = 10


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
