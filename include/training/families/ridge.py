"""Ridge regression by scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.linear_model import Ridge

from include.spec.families import Space
from include.training.data import Encoding, Rows
from include.training.families.base import STEPS, Family, Fitting, Params
from include.training.families.design import Designed, LinearModel, designed, limited


class RidgeRegression(Family[Designed]):
    """Least squares with an L2 penalty; solved at once, so it reports only when done."""

    name = "ridge"

    def prepare(self, train: Rows, valid: Rows, space: Space, fitting: Fitting) -> Designed:
        """Standardise and spread out both windows."""
        return designed(train, valid)

    def fit(self, params: Params, prepared: Designed, fitting: Fitting) -> LinearModel:
        """Solve the normal equations."""
        # scikit-learn weighs the penalty against the sum over rows
        alpha = float(params["penalty"]) * len(prepared.train_y)
        with limited(fitting.threads):
            solved = Ridge(alpha=alpha, solver="cholesky").fit(prepared.train, prepared.train_y)
        coefficients = np.asarray(solved.coef_, dtype=np.float64).ravel()
        model = LinearModel(prepared.design, coefficients, float(solved.intercept_), logit=False)
        predicted = model.predict(prepared.valid_x, fitting.threads)
        fitting.on_step(STEPS, fitting.value(prepared.valid_y, predicted))
        return model

    def load(self, folder: Path, encoding: Encoding) -> LinearModel:
        """Read the coefficients."""
        return LinearModel.load(folder)


FAMILY = RidgeRegression()
