"""Logistic regression by scikit-learn: binary labels only, ``ridge`` is its regression sibling."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from include.training.catalog import Space
from include.training.data import Encoding, Window
from include.training.families.base import STEPS, Family, Fitting, Params
from include.training.families.design import Design, Designed, LinearModel, designed, limited

# steps without improvement after which the solver is stopped
_PATIENCE = 2


class Logistic(Family[Designed]):
    """L2-regularised logistic regression, solved in ten resumable steps so that it can be pruned."""

    name = "logistic"

    def prepare(self, train: Window, valid: Window, space: Space, fitting: Fitting) -> Designed:
        """Standardise and spread out both windows."""
        return designed(train, valid)

    def fit(self, params: Params, prepared: Designed, fitting: Fitting) -> LinearModel:
        """Continue the solver from its last coefficients, a tenth of ``max_iter`` at a time.

        Stopping where the validation metric was best is a second way to regularise: late iterations
        fit what drifts from month to month.
        """
        per_step = max(int(params["max_iter"]) // STEPS, 1)
        # scikit-learn weighs the penalty against the sum over rows
        strength = 1 / (float(params["penalty"]) * len(prepared.train_y))
        solver = LogisticRegression(C=strength, max_iter=per_step, warm_start=True, tol=1e-4)
        best, best_value, since = None, math.nan, 0
        with limited(fitting.threads), warnings.catch_warnings():
            # not converged is what a step that will be continued looks like
            warnings.simplefilter("ignore", ConvergenceWarning)
            for step in range(1, STEPS + 1):
                solver.fit(prepared.train, prepared.train_y)
                model = _model(prepared.design, solver)
                predicted = model.predict(prepared.valid_x, fitting.threads)
                value = fitting.metric.value(prepared.valid_y, predicted)
                fitting.on_step(step, value)
                if best is None or fitting.metric.worse(best_value, value):
                    best, best_value, since = model, value, 0
                else:
                    since += 1
                if since == _PATIENCE or int(solver.n_iter_[0]) < per_step:
                    break
        assert best is not None
        return best

    def load(self, folder: Path, encoding: Encoding) -> LinearModel:
        """Read the coefficients."""
        return LinearModel.load(folder)


def _model(design: Design, solver: LogisticRegression) -> LinearModel:
    coefficients = np.asarray(solver.coef_[0], dtype=np.float64)
    return LinearModel(design, coefficients, float(solver.intercept_[0]), logit=True)


FAMILY = Logistic()
