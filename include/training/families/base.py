"""What every model family offers. Nothing here assumes a binary label."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from include.training.catalog import Choice, Fixed, Space
from include.training.data import Encoding, Floats, Matrix, Window
from include.training.metrics import Metric

Params = Mapping[str, Any]
Prepared = TypeVar("Prepared")

# Families differ in what a step costs (trees, solver iterations, epochs), so they report at tenths
# of their own full effort: a pruner may then compare trials of different families.
STEPS = 10


class Pruned(Exception):
    """Raised by ``on_step`` when a trial is not worth finishing; a family lets it pass through."""


class Suggests(Protocol):
    """The part of an Optuna trial that search spaces need."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        """A number between the bounds."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool) -> int:
        """A whole number between the bounds."""

    def suggest_categorical(self, name: str, choices: tuple[Any, ...]) -> Any:
        """One of the choices."""


@dataclass(frozen=True)
class Fitting:
    """How a fit runs, apart from its parameters.

    Attributes:
        task: ``binary`` or ``regression``.
        metric: judged on the validation window after every step.
        threads: threads that the fit and its predictions may use.
        seed: fixes everything random.
        on_step: called with the step (1..STEPS, tenths of full effort) and the validation metric;
            may raise :class:`Pruned`.
    """

    task: str
    metric: Metric
    threads: int = 1
    seed: int = 0
    on_step: Callable[[int, float], None] = lambda step, value: None


class Model(Protocol):
    """A fitted model."""

    def predict(self, x: Matrix, threads: int = 1) -> Floats:
        """Predictions for encoded rows: the probability of 1 (binary) or the value (regression)."""

    def importance(self) -> Floats:
        """How much each feature counts, in matrix order, not negative, in the family's own unit."""

    def save(self, folder: Path) -> None:
        """Write the model's files into an existing folder, without pickle."""


class Family(ABC, Generic[Prepared]):
    """One kind of model.

    ``prepare`` turns the windows into what fits need, once per worker; every trial shares it and
    must not change it.
    """

    name: str

    def suggest(self, trial: Suggests, space: Space) -> dict[str, Any]:
        """Parameters for one trial; each is recorded as ``<family>.<parameter>``."""
        return {name: _suggest(trial, f"{self.name}.{name}", space[name]) for name in space}

    @abstractmethod
    def prepare(self, train: Window, valid: Window, space: Space, fitting: Fitting) -> Prepared:
        """Binned or standardised data that all trials of a worker share."""

    @abstractmethod
    def fit(self, params: Params, prepared: Prepared, fitting: Fitting) -> Model:
        """Fit on train, watch valid."""

    @abstractmethod
    def load(self, folder: Path, encoding: Encoding) -> Model:
        """Read what the model's ``save`` wrote."""


def _suggest(trial: Suggests, name: str, dimension: Any) -> Any:
    if isinstance(dimension, Fixed):
        return dimension.value
    if isinstance(dimension, Choice):
        return trial.suggest_categorical(name, dimension.options)
    if dimension.integer:
        return trial.suggest_int(name, int(dimension.low), int(dimension.high), log=dimension.log)
    return trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)


def starting_point(family: str, space: Space) -> dict[str, Any]:
    """The parameters that a study tries first for ``family``, named as in :meth:`Family.suggest`."""
    point = {}
    for name, dimension in space.items():
        if isinstance(dimension, Choice):
            point[f"{family}.{name}"] = dimension.options[0]
        elif not isinstance(dimension, Fixed):
            point[f"{family}.{name}"] = int(dimension.start) if dimension.integer else dimension.start
    return point


def as_floats(values: Any) -> NDArray[np.float64]:
    """``values`` as a float64 array."""
    return np.asarray(values, dtype=np.float64)
