"""Logistic regression by scikit-learn, of two classes or more; ``ridge`` is its regression sibling."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from include.spec.families import Space
from include.training.data import Encoding, Rows
from include.training.families.base import STEPS, Family, Fitting, Params
from include.training.families.design import Design, Designed, LinearModel, designed, limited

# steps without improvement after which the solver is stopped
_PATIENCE = 2
_STATE = "solver.json"


class Logistic(Family[Designed]):
    """L2-regularised logistic regression, solved in ten resumable steps so that it can be pruned."""

    name = "logistic"

    def prepare(self, train: Rows, valid: Rows, space: Space, fitting: Fitting) -> Designed:
        """Standardise and spread out both windows."""
        return designed(train, valid)

    def fit(self, params: Params, prepared: Designed, fitting: Fitting) -> LinearModel:
        """Continue the solver from its last coefficients, a tenth of ``max_iter`` at a time.

        The coefficients with the best validation metric win, which is a second regularisation: late iterations
        fit effects that drift from month to month.
        """
        per_step = max(int(params["max_iter"]) // STEPS, 1)
        # scikit-learn weighs the penalty against the sum over rows
        strength = 1 / (float(params["penalty"]) * len(prepared.train_y))
        solver = LogisticRegression(C=strength, max_iter=per_step, warm_start=True, tol=1e-4)
        weights = fitting.weights(prepared.train_y)
        kind = _Coefficients(prepared.design, fitting.classes)
        state = _resumed(fitting, solver, kind)
        with limited(fitting.threads), warnings.catch_warnings():
            # a step that will be continued has not converged
            warnings.simplefilter("ignore", ConvergenceWarning)
            for step in range(state.step + 1, STEPS + 1):
                if state.ended:
                    break
                solver.fit(prepared.train, prepared.train_y, sample_weight=weights)
                state.step, state.now = step, kind.of(solver)
                predicted = kind.model(state.now).predict(prepared.valid_x, fitting.threads)
                value = fitting.value(prepared.valid_y, predicted)
                fitting.on_step(step, value)
                if not state.best or fitting.metric.worse(state.best_value, value):
                    state.best, state.best_value, state.since = state.now, value, 0
                else:
                    state.since += 1
                state.ended = state.since == _PATIENCE or int(solver.n_iter_[0]) < per_step
                fitting.checkpoints.keep(step, state.save)
        return kind.model(state.best)

    def load(self, folder: Path, encoding: Encoding) -> LinearModel:
        """Read the coefficients."""
        return LinearModel.load(folder)


@dataclass(frozen=True)
class _Coefficients:
    """Coefficients as they are kept: a row for each class, or one of a binary label; the intercept comes last.

    Of two classes the solver has one row, the log odds of the second: the first class's row is zeros.
    """

    design: Design
    classes: int

    def of(self, solver: LogisticRegression) -> list[list[float]]:
        """Return the coefficients of the solver."""
        rows = np.column_stack([solver.coef_, solver.intercept_])
        found: list[list[float]] = (np.vstack([np.zeros_like(rows), rows]) if self.classes == 2 else rows).tolist()
        return found

    def warm(self, solver: LogisticRegression, rows: list[list[float]]) -> None:
        """Let the solver begin at these coefficients."""
        own = np.asarray(rows[1:] if self.classes == 2 else rows)
        solver.coef_, solver.intercept_ = own[:, :-1], own[:, -1]
        solver.classes_ = np.arange(float(self.classes or 2))

    def model(self, rows: list[list[float]]) -> LinearModel:
        """Return the model of these coefficients."""
        found = np.asarray(rows, dtype=np.float64)
        if not self.classes:
            return LinearModel(self.design, found[0, :-1], float(found[0, -1]), logit=True)
        return LinearModel(self.design, found[:, :-1].T, found[:, -1], logit=True)


@dataclass
class _State:
    """Coefficients now and where the validation metric was best."""

    step: int = 0
    now: list[list[float]] = field(default_factory=list)
    best: list[list[float]] = field(default_factory=list)
    best_value: float = math.nan
    since: int = 0
    ended: bool = False

    def save(self, folder: Path) -> None:
        (folder / _STATE).write_text(json.dumps(asdict(self)), encoding="utf-8")


def _resumed(fitting: Fitting, solver: LogisticRegression, kind: _Coefficients) -> _State:
    begin = fitting.checkpoints.resume()
    if begin is None:
        return _State()
    state = _State(**json.loads((begin / _STATE).read_text(encoding="utf-8")))
    # a warm start goes on from these
    kind.warm(solver, state.now)
    return state


FAMILY = Logistic()
