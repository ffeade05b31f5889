"""The model part of a use-case spec: what is predicted, what is searched, how it is judged."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from include.core.words import nearest
from include.spec.families import FAMILIES, METRICS, TASKS, Choice, Dimension, Fixed, Searched
from include.spec.values import Values

Scalar = bool | int | float | str


class Range(Values):
    """Bounds that replace those of a searched parameter."""

    low: float = Field(description="least value, included")
    high: float = Field(description="largest value, included")
    log: bool | None = Field(default=None, description="whether to search on a log scale; left out, as by default")

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if not self.low < self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}; give one value to fix it")
        if self.log and self.low <= 0:
            raise ValueError(f"a log range cannot start at {self.low}; use a positive low")
        return self


Override = Range | list[Scalar] | Scalar


class ConstantBaseline(Values):
    """A baseline that predicts the mean label of the train window for every row; of classes, the share of each."""

    kind: Literal["constant"] = "constant"

    @property
    def name(self) -> str:
        """Return the name under which the baseline appears in the evidence."""
        return "constant"


class HistoryBaseline(Values):
    """A baseline that predicts the train window's mean label of the row's group, drawn towards the overall mean.

    Of classes it predicts the share of each in the group.

    Attributes:
        by: columns that form the group; they need not be features.
        smoothing: rows of the overall mean that are mixed into each group's own rows.
    """

    kind: Literal["historical_rate"] = "historical_rate"
    by: list[str] = Field(min_length=1)
    smoothing: float = Field(default=50.0, ge=0)

    @property
    def name(self) -> str:
        """Return the name under which the baseline appears in the evidence."""
        return f"historical_rate({', '.join(self.by)})"


class SeasonalBaseline(Values):
    """A baseline that predicts the label that the row's group had some periods before, such as a week ago.

    Of several such rows it is their mean; of classes the share of each; without any, the overall mean of the train
    window. It must not look ahead: the label delay has to be over by then.

    Attributes:
        periods_before: how many periods lie between the two; at least the label delay.
        by: columns that form the group, such as the entity's key.
        smoothing: rows of the overall mean that are mixed in. Give more than 0 where a probability is predicted: a
            single row says 0 or 1, which costs its log loss without bound.
    """

    kind: Literal["seasonal"] = "seasonal"
    periods_before: int = Field(ge=1)
    by: list[str] = Field(min_length=1)
    smoothing: float = Field(default=0.0, ge=0)

    @property
    def name(self) -> str:
        """Return the name under which the baseline appears in the evidence."""
        return f"{', '.join(self.by)} {self.periods_before} periods before"


Baseline = Annotated[ConstantBaseline | HistoryBaseline | SeasonalBaseline, Field(discriminator="kind")]


class Imbalance(Values):
    """The method against rare positives; predictions stay probabilities of the real world.

    Attributes:
        method: ``weights`` makes positive rows count more, ``undersample`` leaves negative rows out,
            ``focal`` makes rows count less that are predicted well already.
        positive_weight: for ``weights``; the number of negatives per positive when None.
        negatives_per_positive: for ``undersample``.
        gamma: exponent of the focal loss.
    """

    method: Literal["none", "weights", "undersample", "focal"] = "none"
    positive_weight: float | None = Field(default=None, gt=0)
    negatives_per_positive: float = Field(default=1.0, gt=0)
    gamma: float = Field(default=2.0, gt=0, le=5)


class ModelSettings(Values):
    """Everything that decides which model is found for a given training set.

    Attributes:
        task: ``binary`` (label 0/1), ``regression``, or ``multiclass`` (label of two or more classes, as text or whole
            numbers; the classes are those of the train window).
        label: column that is predicted.
        metric: what the search optimises on the validation window.
        families: model families to search, each with overrides of its search space: one value
            fixes a parameter, a list gives its choices, ``{low, high, log}`` its bounds.
        period_column: the partition key of a row; splits and intervals go by it.
        keys: columns that identify a row. They are features only when also listed as categorical.
        ignore: further columns that are not features.
        categorical: string columns used as features.
        test_periods: last periods of the training set, kept for the final judgement.
        valid_periods: periods before those: early stopping, search, calibration.
        trials: budget of the whole study, shared by all workers.
        workers: processes that search at the same time.
        search: ``together`` proposes family and parameters at once and compares all trials;
            ``by_family`` gives every family the same share of the trials and looks at its own only.
        time_budget_seconds: time with at least one trial at work, over all restarts, after which no
            trial is begun and running ones end at their next step.
        device_budget_seconds: the same for the sum over trials of time and devices (GPUs, or threads
            where there is none).
        seed: fixes sampling, fitting and resampling.
        sampler: how parameters are proposed: ``tpe``, ``random``, or ``grid``, which ends when every
            point was tried.
        grid_points: values that the grid takes of each searched range.
        pruner: how hopeless trials are stopped early (``none`` turns it off); all of them compare with
            the trials of every worker.
        imbalance: what is done about rare positives (binary only).
        ensemble: ``greedy`` blends the best trials, if that is better beyond doubt, else the best trial wins.
        ensemble_size: how many of the best trials a blend may choose from.
        checkpoint_seconds: least time between two checkpoints of a trial.
        retries: how often a trial whose worker died is run again.
        heartbeat_seconds: how often a worker says that its trial is alive.
        grace_seconds: silence after which a worker counts as dead.
        calibration: ``isotonic`` (binary only) or ``temperature`` (multiclass only), learnt on the validation window,
            or ``none``.
        baselines: simple predictions that the model is compared with.
        label_range: least and largest value that a prediction may have, such as ``[0, null]`` for counts; predictions
            outside are set to the nearer one (regression only).
        slices: columns whose values get their own metrics.
        resamples: bootstrap resamples of whole blocks behind each interval.
    """

    task: str = "binary"
    label: str
    metric: str = "log_loss"
    families: dict[str, dict[str, Override]] = Field(min_length=1)
    period_column: str = "ds"
    keys: list[str] = []
    ignore: list[str] = []
    categorical: list[str] = []
    test_periods: int = Field(default=28, ge=1)
    valid_periods: int = Field(default=28, ge=1)
    trials: int = Field(default=12, ge=1)
    workers: int = Field(default=2, ge=1)
    search: Literal["together", "by_family"] = "together"
    time_budget_seconds: float | None = Field(default=None, gt=0)
    device_budget_seconds: float | None = Field(default=None, gt=0)
    seed: int = Field(default=0, ge=0, lt=2**31)
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    grid_points: int = Field(default=3, ge=2)
    pruner: Literal["median", "asha", "hyperband", "none"] = "median"
    imbalance: Imbalance = Imbalance()
    ensemble: Literal["none", "greedy"] = "none"
    ensemble_size: int = Field(default=6, ge=2)
    checkpoint_seconds: float = Field(default=10.0, ge=0)
    retries: int = Field(default=2, ge=0)
    heartbeat_seconds: int = Field(default=5, ge=1)
    grace_seconds: int = Field(default=60, ge=2)
    calibration: Literal["isotonic", "temperature", "none"] = "none"
    baselines: list[Baseline] = [ConstantBaseline()]
    label_range: tuple[float | None, float | None] | None = None
    slices: list[str] = []
    resamples: int = Field(default=1000, ge=100)

    @field_validator("task")
    @classmethod
    def _task_is_known(cls, task: str) -> str:
        if task not in TASKS:
            raise ValueError(f'task "{task}" unknown{nearest(task, TASKS)}')
        return task

    @field_validator("metric")
    @classmethod
    def _metric_is_known(cls, metric: str) -> str:
        if metric not in METRICS:
            raise ValueError(f'metric "{metric}" unknown{nearest(metric, METRICS)}')
        return metric

    @field_validator("families")
    @classmethod
    def _families_are_known(cls, families: dict[str, dict[str, Override]]) -> dict[str, dict[str, Override]]:
        faults = [f'family "{name}" unknown{nearest(name, FAMILIES)}' for name in families if name not in FAMILIES]
        for name in families.keys() & FAMILIES.keys():
            faults += _space_faults(name, families[name])
        if faults:
            raise ValueError("; ".join(faults))
        return families

    @model_validator(mode="after")
    def _fits_the_task(self) -> ModelSettings:
        faults = []
        if self.task not in METRICS[self.metric].tasks:
            able = [name for name, info in METRICS.items() if self.task in info.tasks]
            faults.append(f'metric "{self.metric}" is not for {self.task}; use one of {", ".join(able)}')
        for name in self.families:
            if self.task not in FAMILIES[name].tasks:
                able = [other for other, info in FAMILIES.items() if self.task in info.tasks]
                faults.append(f'family "{name}" cannot do {self.task}; use {" or ".join(able)}')
            elif self.imbalance.method not in {"none", *FAMILIES[name].imbalance}:
                able = [other for other, info in FAMILIES.items() if self.imbalance.method in info.imbalance]
                faults.append(f'family "{name}" has no imbalance "{self.imbalance.method}"; {" or ".join(able)} has')
        if self.search == "by_family" and self.pruner == "hyperband":
            faults.append('pruner "hyperband" compares all families; with search "by_family" use "asha"')
        task = TASKS[self.task]
        if self.imbalance.method != "none" and not task.rare_positives:
            faults.append(f'imbalance "{self.imbalance.method}" is for binary labels; set it to "none"')
        if self.calibration not in {"none", *task.calibrations}:
            (suits,) = [other.labels for other in TASKS.values() if self.calibration in other.calibrations]
            instead = " or ".join(f'"{name}"' for name in (*task.calibrations, "none"))
            faults.append(f'calibration "{self.calibration}" is for {suits}; set it to {instead}')
        if self.label_range is not None:
            low, high = self.label_range
            if self.task != "regression":
                faults.append("label_range is for regression: a probability lies between 0 and 1 by itself")
            if low is not None and high is not None and not low < high:
                faults.append(f"label_range [{low}, {high}] is empty; write the smaller number first")
        if self.label in self.categorical:
            faults.append(f'label "{self.label}" is listed as categorical; a label is never a feature')
        if self.grace_seconds < 2 * self.heartbeat_seconds:
            faults.append("grace_seconds must be at least twice heartbeat_seconds, or live trials are lost")
        names = [baseline.name for baseline in self.baselines]
        if len(set(names)) != len(names):
            faults.append("two baselines are the same; remove one")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def space(self, family: str) -> Mapping[str, Dimension]:
        """Return the search space of ``family`` with this spec's overrides applied."""
        overrides = self.families[family]
        return {
            name: _override(default, overrides[name]) if name in overrides else default
            for name, default in FAMILIES[family].space.items()
        }

    def differing(self, then: Mapping[str, Any]) -> list[str]:
        """Return the fields that decide what a model is and had another value in ``then``, the JSON of such settings.

        Budgets, workers and heartbeats are left out, and so is how a model is judged. A field that ``then`` does not
        have is left out, too: an earlier release did not know it.
        """
        beside = {
            "trials", "workers", "time_budget_seconds", "device_budget_seconds", "checkpoint_seconds", "retries",
            "heartbeat_seconds", "grace_seconds", "baselines", "slices", "resamples",
        }  # fmt: skip
        now = self.model_dump(mode="json", exclude=beside)
        return sorted(name for name, value in now.items() if name in then and then[name] != value)

    def search_digest(self) -> str:
        """Return eight hex digits over what a trial's result depends on.

        The families count with the spaces that trials are drawn from, in their order, and not as the spec writes them:
        a default that a release changes makes another study, and a default that the spec spells out makes none.
        Budget, workers, judgement and heartbeats are left out: more trials continue the same study.
        """
        fields = {
            "task", "label", "metric", "period_column", "keys", "ignore", "categorical", "test_periods",
            "valid_periods", "seed", "search", "sampler", "grid_points", "pruner", "imbalance",
        }  # fmt: skip
        spaces = [
            [
                family,
                [[name, type(one).__name__, _same_numbers(asdict(one))] for name, one in self.space(family).items()],
            ]
            for family in self.families
        ]
        return self._digest(fields, spaces)

    def data_digest(self) -> str:
        """Return eight hex digits over what decides how the training set is cut and encoded."""
        return self._digest({
            "task", "label", "period_column", "keys", "ignore", "categorical", "test_periods", "valid_periods",
        })  # fmt: skip

    def _digest(self, fields: set[str], more: object = None) -> str:
        values = self.model_dump(mode="json", include=fields)
        text = json.dumps(values if more is None else [values, more], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


def _same_numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """Write bounds as floats: a spec that spells out the default 8 reads it as 8.0."""
    return {name: float(value) if type(value) is int else value for name, value in values.items()}


def _space_faults(family: str, overrides: Mapping[str, Override]) -> list[str]:
    space = FAMILIES[family].space
    faults = []
    for name, override in overrides.items():
        if name not in space:
            faults.append(f'parameter "{name}" of {family} unknown{nearest(name, space)}')
            continue
        fault = _override_fault(space[name], override)
        if fault:
            faults.append(f"{family}.{name}: {fault}")
    return faults


def _override_fault(default: Dimension, override: Override) -> str | None:
    if isinstance(override, list) and not override:
        return "an empty list leaves nothing to choose"
    numeric = isinstance(default, Searched) or (
        isinstance(default, Fixed) and not isinstance(default.value, str | bool)
    )
    integer = (isinstance(default, Searched) and default.integer) or (
        isinstance(default, Fixed) and isinstance(default.value, int)
    )
    given: list[Any]
    if isinstance(override, Range):
        given = [override.low, override.high]
    else:
        given = override if isinstance(override, list) else [override]
    for value in given:
        if numeric and (isinstance(value, str | bool)):
            return f"{value!r} is not a number"
        if numeric and not math.isfinite(float(value)):
            return f"{value!r} is not a finite number"
        if integer and float(value) != int(value):
            return f"{value!r} is not a whole number"
    if isinstance(override, Range) and not numeric:
        return "bounds are for numbers; give a list"
    return None


def _override(default: Dimension, override: Override) -> Dimension:
    integer = (isinstance(default, Searched) and default.integer) or (
        isinstance(default, Fixed) and isinstance(default.value, int) and not isinstance(default.value, bool)
    )
    if isinstance(override, list):
        return Choice(tuple(int(value) if integer else value for value in override))
    if not isinstance(override, Range):
        return Fixed(int(override) if integer else override)
    was = default if isinstance(default, Searched) else None
    start = was.start if was else override.low
    log = override.log if override.log is not None else bool(was and was.log and override.low > 0)
    return Searched(
        override.low,
        override.high,
        start=min(max(start, override.low), override.high),
        log=log,
        integer=integer,
    )


def parse_settings(text: str) -> ModelSettings:
    """Parse model settings from JSON text.

    Raises:
        pydantic.ValidationError: with every fault, each naming its field.
    """
    return ModelSettings.model_validate_json(text)


def load_settings(values: Mapping[str, Any]) -> ModelSettings:
    """Check model settings given as plain values; raises like :func:`parse_settings`."""
    return ModelSettings.model_validate(dict(values))
