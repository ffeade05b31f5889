"""Evidence about a model: its metrics on partitions it never saw, beside those of the baselines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from include.spec.training import ModelSettings
from include.training.calibration import Calibrator
from include.training.data import Floats, Window, Windows
from include.training.interval import Difference, Interval
from include.training.judging.baselines import predict_baseline
from include.training.judging.bootstrap import interval, paired_difference
from include.training.judging.metrics import metrics_for
from include.training.predictions import in_one_number, most_likely

MODEL = "model"
UNCALIBRATED = "model before calibration"
_BINS = 10


class Predictor(Protocol):
    """The part of a model that a judgement needs; judging knows neither model files nor families."""

    @property
    def calibrator(self) -> Calibrator | None:
        """Return the calibration of the predictions, or None without one."""

    def predict(self, rows: pa.Table, threads: int = 1) -> Floats:
        """Return calibrated predictions: one a row, or one a row and class."""

    def predict_raw(self, rows: pa.Table, threads: int = 1) -> Floats:
        """Return predictions before calibration."""

    def importance(self) -> dict[str, float]:
        """Return each feature's importance, largest first."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Slice(_Record):
    """The rows where ``column`` is ``value`` (None: null); a metric is None where undefined.

    ``label_mean`` and ``predicted_mean`` are those of ``in_one_number``: of classes, how often the predicted one was
    right, and how probable it was said to be.
    """

    column: str
    value: str | None
    rows: int
    days: int
    label_mean: float
    predicted_mean: float
    metrics: dict[str, float | None]


class Bin(_Record):
    """A tenth of the rows by prediction: mean prediction and mean outcome, of classes as in ``Slice``."""

    rows: int
    lowest: float
    highest: float
    predicted: float
    observed: float


class OfClass(_Record):
    """One class in the test window.

    Attributes:
        name: the class.
        rows: rows that are of it.
        share: their share of all rows; ``predicted_share`` that of the rows that were predicted to be of it.
        recall: share of its rows that were predicted to be of it; None without rows.
    """

    name: str
    rows: int
    share: float
    recall: float | None
    predicted_share: float


class Evidence(_Record):
    """The figures that a promotion decision rests on; plain JSON through ``model_dump_json``.

    Attributes:
        metric: the primary metric's name.
        first_day, last_day, days, rows: the test window.
        metrics: by candidate (``model``, ``model before calibration``, each baseline) and metric.
        differences: model minus baseline on the same resampled blocks, by baseline and metric.
        slices: metrics by value of the spec's slice columns.
        reliability: predictions against outcomes in ten bins of equal size.
        importance: feature importance in the family's own unit, largest first.
        classes: figures of each class; none where the label has no classes.
    """

    metric: str
    first_day: str
    last_day: str
    days: int
    rows: int
    metrics: dict[str, dict[str, Interval]]
    differences: dict[str, dict[str, Difference]]
    slices: tuple[Slice, ...]
    reliability: tuple[Bin, ...]
    importance: dict[str, float]
    classes: tuple[OfClass, ...] = ()

    @property
    def primary(self) -> Interval:
        """Return the model's primary metric."""
        return self.metrics[MODEL][self.metric]


def evaluate(model: Predictor, windows: Windows, settings: ModelSettings, threads: int = 1) -> Evidence:
    """Judge ``model`` on the test window; baselines learn from the train window, seasonal ones from each row's past."""
    test = windows.test
    predicted = model.predict(test.table, threads)
    candidates: dict[str, Floats] = {MODEL: predicted}
    if model.calibrator is not None:
        candidates[UNCALIBRATED] = model.predict_raw(test.table, threads)
    baselines = {baseline.name: predict_baseline(baseline, windows, test) for baseline in settings.baselines}
    return Evidence(
        metric=settings.metric,
        first_day=test.keys[0],
        last_day=test.keys[-1],
        days=len(test.keys),
        rows=len(test.y),
        metrics={name: _intervals(test, values, settings) for name, values in {**candidates, **baselines}.items()},
        differences={name: differences(test, predicted, other, settings) for name, other in baselines.items()},
        slices=_slices(test, predicted, settings),
        reliability=reliability(*in_one_number(test.y, predicted)),
        importance=model.importance(),
        classes=of_classes(test.y, predicted, test.classes),
    )


def differences(window: Window, candidate: Floats, other: Floats, settings: ModelSettings) -> dict[str, Difference]:
    """Compare two predictions, candidate minus other, by every metric of the task."""
    return {
        metric.name: paired_difference(
            metric,
            window.y,
            candidate,
            other,
            window.blocks,
            resamples=settings.resamples,
            seed=settings.seed,
        )
        for metric in metrics_for(settings.task)
    }


def _intervals(window: Window, predicted: Floats, settings: ModelSettings) -> dict[str, Interval]:
    return {
        metric.name: interval(
            metric, window.y, predicted, window.blocks, resamples=settings.resamples, seed=settings.seed
        )
        for metric in metrics_for(settings.task)
    }


def _slices(window: Window, predicted: Floats, settings: ModelSettings) -> tuple[Slice, ...]:
    found = []
    for column in settings.slices:
        encoded = pc.dictionary_encode(window.table.column(column), null_encoding="encode").combine_chunks()
        codes = encoded.indices.to_numpy()
        for code, value in enumerate(encoded.dictionary.to_pylist()):
            rows = np.flatnonzero(codes == code)
            found.append(_slice(column, None if value is None else str(value), rows, window, predicted, settings))
    return tuple(sorted(found, key=lambda one: (settings.slices.index(one.column), -one.rows, str(one.value))))


def _slice(
    column: str,
    value: str | None,
    rows: np.ndarray[tuple[int], np.dtype[np.int64]],
    window: Window,
    predicted: Floats,
    settings: ModelSettings,
) -> Slice:
    y, p = window.y[rows], predicted[rows]
    values = {metric.name: metric.value(y, p) for metric in metrics_for(settings.task)}
    outcomes, said = in_one_number(y, p)
    return Slice(
        column=column,
        value=value,
        rows=len(rows),
        days=len(np.unique(window.codes[rows])),
        label_mean=float(outcomes.mean()),
        predicted_mean=float(said.mean()),
        metrics={name: number if np.isfinite(number) else None for name, number in values.items()},
    )


def reliability(y: Floats, predicted: Floats) -> tuple[Bin, ...]:
    """Return mean prediction and outcome in at most ten bins of equal size, ascending."""
    order = np.argsort(predicted, kind="stable")
    return tuple(
        Bin(
            rows=len(rows),
            lowest=float(predicted[rows].min()),
            highest=float(predicted[rows].max()),
            predicted=float(predicted[rows].mean()),
            observed=float(y[rows].mean()),
        )
        for rows in np.array_split(order, _BINS)
        if len(rows)
    )


def of_classes(y: Floats, predicted: Floats, classes: Sequence[str]) -> tuple[OfClass, ...]:
    """Return the figures of each class, in order; none where the label has no classes."""
    if not classes:
        return ()
    best = most_likely(predicted)
    own = [y == at for at in range(len(classes))]
    return tuple(
        OfClass(
            name=name,
            rows=int(rows.sum()),
            share=float(rows.mean()),
            recall=float((best[rows] == at).mean()) if rows.any() else None,
            predicted_share=float((best == at).mean()),
        )
        for at, (name, rows) in enumerate(zip(classes, own, strict=True))
    )
