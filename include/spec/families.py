"""Names that a spec may use: tasks, metrics, model families and their search spaces.

These are values only, so that a spec can be checked without importing a machine-learning library. The code
of metrics is in ``include.training.judging.metrics``, that of families in ``include.training.families``; a test
compares the names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class TaskInfo:
    """What a spec may ask of a task.

    Attributes:
        labels: its labels, in the words of an error.
        calibrations: the methods of ``calibration`` beside ``none``, best first.
        rare_positives: whether there are positives, so that ``imbalance`` and ``scoring.recalibration`` mean something.
        classes: whether there are named classes, so that ``monitoring.quality.min_recall`` means something.
    """

    labels: str
    calibrations: tuple[str, ...] = ()
    rare_positives: bool = False
    classes: bool = False

    @property
    def shares(self) -> bool:
        """Whether predictions are probabilities, so that their means are compared as shares."""
        return self.rare_positives or self.classes


@dataclass(frozen=True)
class MetricInfo:
    """The tasks of a metric, and whether larger is better."""

    tasks: frozenset[str]
    maximize: bool = False


@dataclass(frozen=True)
class Searched:
    """A searched number between ``low`` and ``high``, both included; ``start`` is tried first."""

    low: float
    high: float
    start: float
    log: bool = False
    integer: bool = False


@dataclass(frozen=True)
class Choice:
    """One of ``options``; the first is tried first."""

    options: tuple[str | int | float | bool, ...]


@dataclass(frozen=True)
class Fixed:
    """A value that is not searched but may be overridden in a spec."""

    value: str | int | float | bool


Dimension = Searched | Choice | Fixed
Space = Mapping[str, Dimension]


@dataclass(frozen=True)
class FamilyInfo:
    """The module of a family, its tasks and its default search space.

    ``imbalance`` names the methods against rare positives that the family has; none for regression.
    """

    module: str
    tasks: frozenset[str]
    space: Space
    imbalance: frozenset[str] = frozenset({"weights", "undersample"})


BINARY = frozenset({"binary"})
REGRESSION = frozenset({"regression"})
MULTICLASS = frozenset({"multiclass"})
TASKS: Mapping[str, TaskInfo] = {
    "binary": TaskInfo("binary labels", ("isotonic",), rare_positives=True),
    "regression": TaskInfo("numbers"),
    "multiclass": TaskInfo("labels of several classes", ("temperature",), classes=True),
}

METRICS: Mapping[str, MetricInfo] = {
    "log_loss": MetricInfo(BINARY | MULTICLASS),
    "brier": MetricInfo(BINARY),
    "auc": MetricInfo(BINARY, maximize=True),
    "calibration_error": MetricInfo(BINARY),
    "rmse": MetricInfo(REGRESSION),
    "mae": MetricInfo(REGRESSION),
    "auc_macro": MetricInfo(MULTICLASS, maximize=True),
    "accuracy": MetricInfo(MULTICLASS, maximize=True),
    "recall_macro": MetricInfo(MULTICLASS, maximize=True),
}

# L2 penalties of linear models are per row, so that they mean the same for a month and for a year.
# Rates and leaf counts are modest on purpose: the default budget is a dozen trials on two cores.
_BOOSTING: dict[str, Dimension] = {
    "num_leaves": Searched(8, 48, start=20, log=True, integer=True),
    "learning_rate": Searched(0.03, 0.2, start=0.06, log=True),
    "min_data_in_leaf": Searched(50, 1000, start=200, log=True, integer=True),
    "feature_fraction": Searched(0.2, 0.8, start=0.4),
    "bagging_fraction": Searched(0.5, 0.9, start=0.7),
    "lambda_l2": Searched(0.01, 30.0, start=1.0, log=True),
    "rounds": Fixed(200),
    "early_stopping": Fixed(25),
    "max_bin": Fixed(63),
}

# Widths and epochs suit two CPU cores; a GPU takes ten times as much. Patience counts tenths of the epochs.
_NETWORK: dict[str, Dimension] = {
    "width": Searched(32, 256, start=96, log=True, integer=True),
    "depth": Searched(1, 3, start=2, integer=True),
    "dropout": Searched(0.0, 0.5, start=0.2),
    "learning_rate": Searched(3e-4, 5e-3, start=1e-3, log=True),
    "weight_decay": Searched(1e-5, 0.3, start=0.01, log=True),
    "epochs": Fixed(2.0),
    "batch": Fixed(1024),
    "patience": Fixed(3),
    "compile": Fixed(False),
}

FAMILIES: Mapping[str, FamilyInfo] = {
    "lightgbm": FamilyInfo("include.training.families.boosting", BINARY | REGRESSION | MULTICLASS, _BOOSTING),
    "logistic": FamilyInfo(
        "include.training.families.logistic",
        BINARY | MULTICLASS,
        {"penalty": Searched(1e-4, 3.0, start=0.05, log=True), "max_iter": Fixed(60)},
    ),
    "ridge": FamilyInfo(
        "include.training.families.ridge",
        REGRESSION,
        {"penalty": Searched(1e-5, 3.0, start=0.01, log=True)},
        frozenset(),
    ),
    "torch_mlp": FamilyInfo(
        "include.training.families.mlp",
        BINARY | REGRESSION | MULTICLASS,
        _NETWORK,
        frozenset({"weights", "undersample", "focal"}),
    ),
    "torch_tabm": FamilyInfo(
        "include.training.families.tabm",
        BINARY | REGRESSION,
        _NETWORK | {"members": Fixed(8), "bins": Fixed(8), "embedding": Fixed(4)},
        frozenset({"weights", "undersample", "focal"}),
    ),
}
