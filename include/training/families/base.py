"""The interface of model families. Nothing here assumes a binary label."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from include.spec.families import Choice, Fixed, Space
from include.training.data import Encoding, Floats, Matrix, Rows
from include.training.imbalance import corrected
from include.training.judging.metrics import Metric

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
        """Suggest a number between the bounds."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool) -> int:
        """Suggest a whole number between the bounds."""

    def suggest_categorical(self, name: str, choices: tuple[Any, ...]) -> Any:
        """Suggest one of the choices."""


class Checkpoints(Protocol):
    """The checkpoints of a fit, from which another worker can go on."""

    def resume(self) -> Path | None:
        """Return the folder of the last checkpoint of the same trial; None to begin at the start."""

    def keep(self, step: int, write: Callable[[Path], None]) -> None:
        """Keep the files that ``write`` puts into the folder it is given, or skip a checkpoint that comes too early."""


class NoCheckpoints:
    """Checkpoints that keep nothing: every fit begins at the start."""

    def resume(self) -> Path | None:
        """Return None."""
        return None

    def keep(self, step: int, write: Callable[[Path], None]) -> None:
        """Do nothing."""


class Cache(Protocol):
    """Prepared data that all workers of a study share."""

    def file(self, name: str, write: Callable[[Path], None]) -> Path:
        """Return the file called ``name``; ``write`` makes it, at the path that it is given, if it is missing."""


@dataclass(frozen=True)
class Fitting:
    """Everything about a fit except its parameters.

    Attributes:
        task: ``binary``, ``regression`` or ``multiclass``.
        metric: judged on the validation window after every step.
        threads: threads that the fit and its predictions may use.
        seed: fixes everything random.
        on_step: called with the step (1..STEPS, tenths of full effort) and the validation metric;
            may raise :class:`Pruned`.
        checkpoints: where the fit's state is kept after a step.
        cache: prepared data shared with other workers; None keeps it in this process.
        device: ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``; for families that can use it.
        positive_weight: how much more a positive row counts than a negative one.
        focal: exponent of the focal loss; None for the plain one.
        odds: factor by which weights and under-sampling raise the odds that a model learns.
        classes: number of classes; 0 where the label has none.
    """

    task: str
    metric: Metric
    threads: int = 1
    seed: int = 0
    on_step: Callable[[int, float], None] = lambda step, value: None
    checkpoints: Checkpoints = field(default_factory=NoCheckpoints)
    cache: Cache | None = None
    device: str = "auto"
    positive_weight: float = 1.0
    focal: float | None = None
    odds: float = 1.0
    classes: int = 0

    def value(self, y: Floats, predicted: Floats) -> float:
        """Return the metric of a model's predictions after a correction to the true odds."""
        return self.metric.value(y, corrected(predicted, self.odds))

    def weights(self, y: Floats) -> Floats | None:
        """Return each row's weight; None when all weigh the same."""
        return None if self.positive_weight == 1.0 else np.where(y > 0.5, self.positive_weight, 1.0)


class Model(Protocol):
    """A fitted model."""

    def predict(self, x: Matrix, threads: int = 1) -> Floats:
        """Predict encoded rows: the probability of 1 or the value, shape (rows,), or of classes, (rows, classes)."""

    def importance(self) -> Floats:
        """Return each feature's importance in matrix order, not negative, in the family's own unit."""

    def save(self, folder: Path) -> None:
        """Write the model's files into an existing folder, without pickle."""


class Family(ABC, Generic[Prepared]):
    """One kind of model.

    ``prepare`` turns the windows into what fits need, once per worker; every trial shares it and
    must not change it.
    """

    name: str

    def suggest(self, trial: Suggests, space: Space) -> dict[str, Any]:
        """Suggest parameters for one trial; each is recorded as ``<family>.<parameter>``."""
        return {name: _suggest(trial, f"{self.name}.{name}", space[name]) for name in space}

    @abstractmethod
    def prepare(self, train: Rows, valid: Rows, space: Space, fitting: Fitting) -> Prepared:
        """Bin or standardise the data that all trials of a worker share."""

    @abstractmethod
    def fit(self, params: Params, prepared: Prepared, fitting: Fitting) -> Model:
        """Fit on train, watch valid."""

    @abstractmethod
    def load(self, folder: Path, encoding: Encoding) -> Model:
        """Read a model that its ``save`` wrote."""


def _suggest(trial: Suggests, name: str, dimension: Any) -> Any:
    if isinstance(dimension, Fixed):
        return dimension.value
    if isinstance(dimension, Choice):
        return trial.suggest_categorical(name, dimension.options)
    if dimension.integer:
        return trial.suggest_int(name, int(dimension.low), int(dimension.high), log=dimension.log)
    return trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)


def starting_point(family: str, space: Space) -> dict[str, Any]:
    """Return the parameters that a study tries first for ``family``, named as in :meth:`Family.suggest`."""
    point = {}
    for name, dimension in space.items():
        if isinstance(dimension, Choice):
            point[f"{family}.{name}"] = dimension.options[0]
        elif not isinstance(dimension, Fixed):
            point[f"{family}.{name}"] = int(dimension.start) if dimension.integer else dimension.start
    return point


def as_floats(values: Any) -> NDArray[np.float64]:
    """Return ``values`` as a float64 array."""
    return np.asarray(values, dtype=np.float64)
