"""Verdicts on a monitored window: quality figures, rows of the verdict table, and the request for a training.

A window belongs to one partition. Verdict rows without a column are about the whole window, rows with a column
explain it. This module works with partition keys only; it never reads the wall clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from include.core import partitions
from include.core.errors import LifecycleError
from include.monitoring.drift import ColumnDrift, dataset_verdict
from include.spec.families import TASKS
from include.spec.monitoring import MonitoringSpec, QualitySpec, RetrainingRule
from include.training.blocks import Codes, block_codes
from include.training.interval import Interval
from include.training.judging.bootstrap import interval, paired_difference
from include.training.judging.metrics import Floats, metric, metrics_for
from include.training.predictions import in_one_number

DATA_DRIFT, PREDICTION_DRIFT, QUALITY = "data_drift", "prediction_drift", "quality"
VERDICT_SCHEMA = pa.schema(
    [
        pa.field("ds", pa.string(), nullable=False),  # partition key of the window
        pa.field("kind", pa.string(), nullable=False),  # data_drift, prediction_drift or quality
        pa.field("metric", pa.string(), nullable=False),  # drift_share, or the method or metric
        pa.field("column", pa.string()),  # null: the verdict is about the whole window
        pa.field("value", pa.float64()),  # null: undefined on these rows
        pa.field("low", pa.float64()),  # 95 % interval over whole blocks, where there are enough
        pa.field("high", pa.float64()),
        pa.field("threshold", pa.float64()),  # null: the figure has no threshold
        pa.field("violated", pa.bool_(), nullable=False),
        pa.field("model_version", pa.int64(), nullable=False),
        pa.field("n", pa.int64(), nullable=False),  # number of rows behind the value
        pa.field("report", pa.string()),  # address of the report
    ]
)
_LEAST_BLOCKS = 5  # fewer cannot be resampled for an interval
_RESAMPLES = 500


@dataclass(frozen=True)
class Judged:
    """Predictions whose outcomes are known, row by row.

    Attributes:
        keys: partition key of each row's prediction.
        y: outcome, 0/1 for binary labels, or the position of the class.
        predicted: prediction of the model; of classes the probability of each, shape (rows, classes).
        baselines: predictions of simple baselines for the same rows, by name (``constant``).
        classes: names of the classes; none where there are no classes.
        unknown: how many of them, the last ones, the model does not know.
        promised: the model's metrics on its own test window, by name.
    """

    keys: Sequence[str] | NDArray[np.str_]
    y: Floats
    predicted: Floats
    baselines: Mapping[str, Floats] = field(default_factory=dict)
    classes: Sequence[str] = ()
    unknown: int = 0
    promised: Mapping[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True)
class Figure:
    """One quality figure, with its interval from resampled blocks where there are at least five of them."""

    metric: str
    value: float | None
    low: float | None
    high: float | None
    threshold: float | None
    violated: bool
    n: int


@dataclass(frozen=True)
class TrainingRequest:
    """The decision to ask for a training or not, with the reason."""

    requested: bool
    reason: str


def quality(judged: Judged, spec: QualitySpec, *, task: str = "binary", metric_name: str = "log_loss") -> list[Figure]:
    """Measure past predictions: the task's metrics, mean predicted and observed, differences to the baselines.

    Of classes the means are those of ``predictions.in_one_number``, and the recall of each class is measured too. A
    class that the model does not know has the probability 0, which costs its log loss 27.6 a row.

    A figure violates its threshold if its value, and its whole interval where there is one, is beyond it, and if it
    rests on at least ``spec.min_rows`` rows. An undefined metric (one class only) has no value and violates nothing.

    Raises:
        LifecycleError: there are no rows, a prediction is NaN, or a baseline has another length.
    """
    blocks = _checked_blocks(judged)
    figures = [_metric_figure(name.name, judged, blocks, spec, metric_name) for name in metrics_for(task)]
    outcomes, said = in_one_number(judged.y, judged.predicted)
    figures += [
        _mean_figure("observed_mean", outcomes),
        _mean_figure("predicted_mean", said),
        _calibration_gap(said - outcomes, blocks, spec, _largest_gap(judged, spec, task)),
    ]
    if judged.classes:
        figures += [_recall_figure(at, name, judged, blocks, spec) for at, name in enumerate(judged.classes)]
        figures.append(_unknown_figure(judged, blocks, spec))
    for name, predicted in judged.baselines.items():
        figures.append(_difference_figure(metric_name, name, predicted, judged, blocks, spec))
    return figures


def verdict_rows(
    ds: str,
    model_version: int,
    spec: MonitoringSpec,
    *,
    drifts: Sequence[ColumnDrift] = (),
    predictions: Sequence[str] = (),
    figures: Sequence[Figure] = (),
    rows: int = 0,
    report: str | None = None,
) -> pa.Table:
    """Return the window's verdicts as a table of ``VERDICT_SCHEMA``.

    ``drifts`` is the result of ``drift.decide`` for the window's ``rows`` rows. ``predictions`` names the columns of
    predictions among them: the verdict on the first is about the whole window, the others explain it. ``figures`` is
    the result of ``quality``. Both may be empty. A window without rows has a verdict too: a drift share without a
    value, which violates nothing.
    """
    found: list[dict[str, object]] = []
    if drifts:
        whole = dataset_verdict(drifts, spec.drift, predictions=predictions)
        found.append(_row(DATA_DRIFT, "drift_share", None, whole.share, whole.threshold, whole.drifted, rows))
    elif not rows:
        found.append(_row(DATA_DRIFT, "drift_share", None, None, spec.drift.drift_share, False, 0))
    for drift in drifts:
        of_prediction = drift.column in predictions
        found.append(
            _row(
                PREDICTION_DRIFT if of_prediction else DATA_DRIFT,
                drift.method,
                None if drift.column in predictions[:1] else drift.column,
                drift.statistic,
                drift.threshold,
                drift.drifted,
                drift.n_current,
            )
        )
    for figure in figures:
        row = _row(QUALITY, figure.metric, None, figure.value, figure.threshold, figure.violated, figure.n)
        found.append(row | {"low": figure.low, "high": figure.high})
    common = {"ds": ds, "model_version": model_version, "report": report}
    return pa.Table.from_pylist([row | common for row in found], schema=VERDICT_SCHEMA)


def violations(
    verdicts: pa.Table, newest: str, rule: RetrainingRule, *, model_version: int | None = None
) -> dict[str, tuple[str, ...]]:
    """List the violations of each monitored window among the rule's newest, by partition key.

    The windows are the partitions up to ``newest``, not the newest rows: a window that was never monitored counts as
    one without violations. With ``model_version`` only windows of that model count.
    """
    wanted = pa.array(partitions.key_range(partitions.shift(newest, 1 - rule.windows), newest))
    chosen = pc.and_(pc.is_in(verdicts["ds"], value_set=wanted), pc.is_null(verdicts["column"]))
    if model_version is not None:
        chosen = pc.and_(chosen, pc.equal(verdicts["model_version"], model_version))
    found: dict[str, tuple[str, ...]] = {}
    for row in verdicts.filter(chosen).select(["ds", "kind", "metric", "violated"]).to_pylist():
        name = (f"{row['kind']} {row['metric']}",) if row["violated"] else ()
        found[row["ds"]] = found.get(row["ds"], ()) + name
    return dict(sorted(found.items()))


def training_requested(
    windows: Mapping[str, Sequence[str]],
    newest: str,
    rule: RetrainingRule,
    *,
    run_type: str,
    trained_through: str,
    last_request: str | None = None,
) -> TrainingRequest:
    """Decide whether ``newest`` asks for a training.

    ``windows`` is the result of ``violations``; ``run_type`` is the type of the DAG run (``scheduled``, ``manual``,
    ``backfill``, ...); ``trained_through`` is the end of the champion's training data, and ``last_request`` the
    partition of the last request.
    """
    if run_type == "backfill":
        return TrainingRequest(False, "a backfill monitors the past and never asks for a training")
    if not windows.get(newest):
        return TrainingRequest(False, f"window {newest} violates nothing")
    looked_at = set(partitions.key_range(partitions.shift(newest, 1 - rule.windows), newest))
    bad = sorted(key for key, names in windows.items() if names and key in looked_at)
    share = f"{len(bad)} of the last {rule.windows} windows violate"
    if len(bad) < rule.violations:
        return TrainingRequest(False, f"{share}, {rule.violations} are needed")
    for what, since in (("the last request", last_request), ("the champion's last label", trained_through)):
        # negative: a request of a later partition must not be repeated either
        if since is not None and partitions.between(since, newest) < rule.cooldown_periods:
            return TrainingRequest(
                False, f"{share}, but {what} is of {since}, less than {rule.cooldown_periods} partitions before"
            )
    return TrainingRequest(True, f"{share}: {', '.join(bad)}; newest: {', '.join(windows[newest])}")


def _row(
    kind: str,
    name: str,
    column: str | None,
    value: float | None,
    threshold: float | None,
    violated: bool,
    n: int,
) -> dict[str, object]:
    return {
        "kind": kind,
        "metric": name,
        "column": column,
        "value": value,
        "threshold": threshold,
        "violated": violated,
        "n": n,
    }


def _checked_blocks(judged: Judged) -> Codes:
    n = len(judged.y)
    if n == 0:
        raise LifecycleError("quality: no prediction has an outcome yet; monitor a window whose outcomes are known")
    columns = {"keys": judged.keys, "predictions": judged.predicted, **judged.baselines}
    for name, values in columns.items():
        if len(values) != n:
            raise LifecycleError(f"quality: {name} has {len(values)} rows for {n} outcomes; join them first")
        if name != "keys" and not np.isfinite(values).all():
            raise LifecycleError(f"quality: {name} has NaN or infinite values; score these rows again")
    return block_codes(judged.keys)


def _metric_figure(name: str, judged: Judged, blocks: Codes, spec: QualitySpec, primary: str) -> Figure:
    found = interval(metric(name), judged.y, judged.predicted, blocks, resamples=_RESAMPLES, seed=0)
    threshold = {"auc": spec.min_auc, "auc_macro": spec.min_auc, "accuracy": spec.min_accuracy}.get(name)
    maximize = metric(name).info.maximize
    if threshold is None and name == primary and spec.max_worse is not None:
        threshold = _worst_promised(judged.promised.get(name), spec.max_worse, maximize=maximize)
    low, high = _trusted(found.low, found.high, blocks)
    figure = Figure(name, found.value, low, high, threshold, False, len(blocks))
    return figure if threshold is None else _violated(figure, spec, below=maximize)


def _worst_promised(promised: Interval | None, share: float, *, maximize: bool) -> float | None:
    """Return the value from which a metric is worse than the evidence promised; None if it promised none."""
    if promised is None or promised.value is None:
        return None
    worse_end = promised.low if maximize else promised.high
    slack = share * abs(promised.value)
    return (promised.value if worse_end is None else worse_end) + (-slack if maximize else slack)


def _largest_gap(judged: Judged, spec: QualitySpec, task: str) -> float | None:
    """Return the largest accepted mean error: of shares that of the spec, of numbers in their own unit."""
    if TASKS[task].shares:
        return spec.max_calibration_gap
    promised = judged.promised.get("rmse")
    return None if promised is None or promised.value is None else spec.max_bias * promised.value


def _recall_figure(at: int, name: str, judged: Judged, blocks: Codes, spec: QualitySpec) -> Figure:
    """Measure the share of a class's rows that were predicted to be of it; undefined in a window without such rows."""
    own = judged.y == at
    figure = Figure(f"recall({name})", None, None, None, spec.min_recall.get(name), False, int(own.sum()))
    if not own.any():
        return figure
    # blocks that have a row of the class
    of_class = np.unique(blocks[own], return_inverse=True)[1].astype(np.int64)
    y, predicted = judged.y[own], judged.predicted[own]
    found = interval(metric("accuracy"), y, predicted, of_class, resamples=_RESAMPLES, seed=0)
    low, high = _trusted(found.low, found.high, of_class)
    return _violated(replace(figure, value=found.value, low=low, high=high), spec, below=True)


def _unknown_figure(judged: Judged, blocks: Codes, spec: QualitySpec) -> Figure:
    """Measure the share of rows of a class that the model does not know."""
    unknown = (judged.y >= len(judged.classes) - judged.unknown).astype(np.float64)
    # a share is the mean distance from 0
    found = interval(metric("mae"), unknown, np.zeros(len(unknown)), blocks, resamples=_RESAMPLES, seed=0)
    low, high = _trusted(found.low, found.high, blocks)
    limit = spec.max_unknown_class_share
    figure = Figure("unknown_class_share", found.value, low, high, limit, False, len(blocks))
    return _violated(figure, spec, below=False)


def _difference_figure(
    metric_name: str, baseline: str, predicted: Floats, judged: Judged, blocks: Codes, spec: QualitySpec
) -> Figure:
    measure = metric(metric_name)
    found = paired_difference(measure, judged.y, judged.predicted, predicted, blocks, resamples=_RESAMPLES, seed=0)
    low, high = _trusted(found.low, found.high, blocks)
    threshold = 0.0 if baseline == "constant" and spec.beat_constant else None
    name = f"{metric_name}_minus_{baseline}"
    figure = Figure(name, found.value, low, high, threshold, False, len(blocks))
    return figure if threshold is None else _violated(figure, spec, below=measure.info.maximize)


def _calibration_gap(gaps: Floats, blocks: Codes, spec: QualitySpec, limit: float | None) -> Figure:
    """Measure calibration in the large: mean predicted minus mean observed, from the ``gaps`` of the rows."""
    weights = np.bincount(blocks).astype(np.float64)
    sums = np.bincount(blocks, weights=gaps)
    value = float(sums.sum() / weights.sum())
    draws = np.random.default_rng(0).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), _RESAMPLES)
    bounds = np.quantile((draws @ sums) / (draws @ weights), (0.025, 0.975))
    low, high = _trusted(float(bounds[0]), float(bounds[1]), blocks)
    figure = Figure("calibration_gap", value, low, high, limit, False, len(blocks))
    above = _violated(figure, spec, below=False)
    return above if value >= 0 else _negated(_violated(_negated(figure), spec, below=False))


def _negated(figure: Figure) -> Figure:
    low = None if figure.high is None else -figure.high
    high = None if figure.low is None else -figure.low
    value = None if figure.value is None else -figure.value
    return Figure(figure.metric, value, low, high, figure.threshold, figure.violated, figure.n)


def _mean_figure(name: str, values: Floats) -> Figure:
    return Figure(name, float(values.mean()), None, None, None, False, len(values))


def _trusted(low: float | None, high: float | None, blocks: Codes) -> tuple[float | None, float | None]:
    return (low, high) if int(blocks.max()) + 1 >= _LEAST_BLOCKS else (None, None)


def _violated(figure: Figure, spec: QualitySpec, *, below: bool) -> Figure:
    """Return ``figure`` with its verdict: its whole interval, or without one its value, is beyond the threshold."""
    nearest = figure.high if below else figure.low
    judged_by = figure.value if nearest is None else nearest
    if judged_by is None or figure.threshold is None or figure.n < spec.min_rows:
        return figure
    violated = judged_by < figure.threshold if below else judged_by > figure.threshold
    return Figure(figure.metric, figure.value, figure.low, figure.high, figure.threshold, violated, figure.n)
