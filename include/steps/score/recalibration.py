"""Recalibrate predictions to the base rate: one offset of the log odds a day, learnt from the newest outcomes.

A model inherits the base rate of the months that it was trained and calibrated on, and the base rate of the
outcomes moves from month to month. The offset of day D, added to the log odds of the model's predictions of the
newest days with nearly complete outcomes, makes the mean prediction equal to the mean outcome. Only outcomes known
before the clock of D count, and the predictions are computed again from the features of those days. So the offset
depends on D, the model and published partitions only, and a backfill computes what the live run computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from include.core import partitions
from include.core.errors import TrainingError
from include.core.partitions import Span
from include.feature_store import feature_sql
from include.feature_store.feature_sql import KNOWN_AT
from include.lake.records import Input
from include.registry.registration import Challenger
from include.spec.scoring import RecalibrationSpec
from include.spec.training import ModelSettings
from include.spec.use_case import UseCase
from include.steps import features
from include.steps.score import streaming
from include.steps.workspace import Workspace, WorkspaceReader
from include.training.data import Window, Windows, split
from include.training.interval import Difference, Interval
from include.training.judging.bootstrap import interval as interval_of
from include.training.judging.evidence import MODEL, differences
from include.training.judging.metrics import Floats, metrics_for
from include.training.model import LoadedModel, load_model
from include.training.training_set import open_training_set

TABLE = "recalibration"
SCHEMA = pa.schema(
    [
        ("ds", pa.string()),
        ("model_version", pa.int64()),
        ("offset", pa.float64()),
        ("rows", pa.int64()),
        ("first", pa.string()),
        ("last", pa.string()),
        ("predicted", pa.float64()),
        ("observed", pa.float64()),
    ]
)
_EDGE = 1e-6  # a prediction of exactly 0 or 1 has no log odds
_HALVINGS = 40
_DIGITS = 6  # a smaller difference of an offset does not change a prediction noticeably


@dataclass(frozen=True)
class Known:
    """Predictions of one model whose outcomes became known, row by row.

    Attributes:
        days: partition key of each row.
        y: outcome, 0 or 1.
        predicted: the model's prediction, without any offset.
        known_at: instant from which the outcome could be known, in microseconds of UTC.
    """

    days: NDArray[np.str_]
    y: Floats
    predicted: Floats
    known_at: NDArray[np.int64]

    def since(self, day: str) -> Known:
        """Return the rows from ``day`` on."""
        keep = self.days >= day
        return Known(self.days[keep], self.y[keep], self.predicted[keep], self.known_at[keep])

    @classmethod
    def together(cls, parts: Sequence[Known]) -> Known:
        """Return the rows of ``parts``, one after the other."""
        return cls(
            np.concatenate([part.days for part in parts]),
            np.concatenate([part.y for part in parts]),
            np.concatenate([part.predicted for part in parts]),
            np.concatenate([part.known_at for part in parts]),
        )


@dataclass(frozen=True)
class State:
    """The offset of one day and the outcomes that it was learnt from; means are None where no outcome was known."""

    offset: float
    rows: int
    first: str
    last: str
    predicted: float | None
    observed: float | None


def window(key: str, case: UseCase, spec: RecalibrationSpec) -> Span:
    """Return the days whose outcomes the offset of ``key`` is learnt from."""
    last = case.last_label_period(key)
    return Span(first=partitions.shift(last, 1 - spec.window_periods), last=last)


def learn(key: str, known: Known, case: UseCase, spec: RecalibrationSpec) -> State:
    """Learn the offset of ``key`` from the outcomes of its window that were known before its clock."""
    days = window(key, case, spec)
    first, last = days.first, days.last
    clock = int(partitions.clock(key, case.time_zone).timestamp() * 1_000_000)
    chosen = (known.days >= first) & (known.days <= last) & (known.known_at < clock)
    rows = int(np.count_nonzero(chosen))
    if rows == 0:
        return State(0.0, 0, first, last, None, None)
    y, predicted = known.y[chosen], known.predicted[chosen]
    state = State(0.0, rows, first, last, float(predicted.mean()), float(y.mean()))
    if rows < spec.min_rows:
        return state
    mixed_in = spec.shrink_periods / len(np.unique(known.days[chosen]))
    target = (float(y.mean()) + mixed_in * float(predicted.mean())) / (1 + mixed_in)
    offset = round(_offset_to(target, predicted, spec.max_offset), _DIGITS)
    return State(offset, rows, first, last, state.predicted, state.observed)


def apply(predicted: Floats, offset: float) -> Floats:
    """Add ``offset`` to the log odds of predictions; an offset of 0 returns the very same numbers."""
    if offset == 0.0:
        return predicted
    bounded = np.clip(predicted, _EDGE, 1 - _EDGE)
    return np.asarray(1 / (1 + np.exp(-(np.log(bounded) - np.log1p(-bounded) + offset))))


def undo(shifted: Floats, offsets: Floats, known: Floats) -> Floats:
    """Remove the offset of each row from its log odds, and return the model's own predictions.

    The result is exact to within rounding, and to within a millionth at 0 and 1. A result that is so close to one of
    ``known`` (ascending) becomes that very number, for statistical tests that count ties.
    """
    said, moved = shifted.copy(), offsets != 0.0
    found = shifted[moved]
    found = 1 / (1 + np.exp(-(np.log(found) - np.log1p(-found) - offsets[moved])))
    if len(known):
        above = np.searchsorted(known, found).clip(max=len(known) - 1)
        below = (above - 1).clip(min=0)
        nearest = np.where(found - known[below] < known[above] - found, known[below], known[above])
        found = np.where(np.abs(nearest - found) <= 2 * _EDGE, nearest, found)
    said[moved] = found
    return said


def _offset_to(target: float, predicted: Floats, limit: float) -> float:
    """Find by bisection the offset that brings the mean prediction to ``target``, as far as ``limit`` allows."""
    low, high = -limit, limit
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if float(apply(predicted, middle).mean()) < target:
            low = middle
        else:
            high = middle
    return (low + high) / 2


# ---- while scoring -------------------------------------------------------------------------------


def label_days(case: UseCase, span: Span) -> Span | None:
    """Return the days whose outcomes the offsets of ``span`` are learnt from; None where there are no offsets."""
    spec = case.scoring.recalibration
    if spec is None:
        return None
    first, last = max(window(span.first, case, spec).first, case.history.first), window(span.last, case, spec).last
    return None if last < first else Span(first=first, last=last)


def states(
    workspace: WorkspaceReader,
    versions: Mapping[str, int],
    models: Mapping[int, LoadedModel],
    read: Mapping[str, Input],
    runs: Sequence[Span],
) -> dict[str, State]:
    """Return the state of each day; empty where the spec asks for no recalibration.

    ``versions`` is the model version that scores each day, in order, and ``models`` those versions. Tables are
    read at the versions that ``read`` records. ``runs`` is ``label_days`` in runs of days that are read together.
    Their rows are walked in chunks; only days, outcomes and predictions of one window are kept.
    """
    spec, case = workspace.case.scoring.recalibration, workspace.case
    if spec is None:
        return {}
    nothing = Known(np.array([], dtype="U10"), np.empty(0), np.empty(0), np.empty(0, dtype=np.int64))
    known, found, ahead, seen = dict.fromkeys(models, nothing), {}, iter(runs), ""
    for key, version in versions.items():
        days = window(key, case, spec)
        while seen < days.last and (run := next(ahead, None)):
            # an outcome of the run's last day may still become known while that day is in the window of a later day
            as_of = min(max(versions), partitions.shift(run.last, case.label_delay_periods + spec.window_periods - 1))
            for one, more in _known_of(workspace, models, run, as_of, read).items():
                known[one] = Known.together([known[one].since(days.first), *more])
            seen = run.last
        found[key] = learn(key, known[version], case, spec)
    return found


def _known_of(
    workspace: WorkspaceReader,
    models: Mapping[int, LoadedModel],
    days: Span,
    as_of: str,
    read: Mapping[str, Input],
) -> dict[int, list[Known]]:
    """Return each model's predictions of ``days`` with the outcomes known at the clock of ``as_of``, in chunks."""
    label, threads = workspace.case.training.label, workspace.settings.threads
    found: dict[int, list[Known]] = {version: [] for version in models}
    for rows in _labelled_rows(workspace, days, as_of, read):
        for version, model in models.items():
            found[version].append(known_rows(rows, model.predict(rows, threads), label, "ds"))
    return found


def state_rows(found: Mapping[str, State], versions: Mapping[str, int]) -> pa.Table:
    """Return the states as rows of the lake's table."""
    rows = [{"ds": key, "model_version": versions[key], **asdict(state)} for key, state in sorted(found.items())]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def known_rows(rows: pa.Table, predicted: Floats, label: str, period_column: str) -> Known:
    """Return the model's predictions of ``rows`` with label, day and ``label_known_at`` of each row.

    Raises:
        TrainingError: the rows have no ``label_known_at``.
    """
    if KNOWN_AT not in rows.column_names:
        raise TrainingError(f"rows lack {KNOWN_AT}: without it nobody knows which outcomes a day may learn from")
    known_at = rows[KNOWN_AT].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
    days = rows[period_column].cast(pa.string()).to_numpy(zero_copy_only=False).astype(str)
    return Known(days, rows[label].cast(pa.float64()).to_numpy(), predicted, known_at)


def _labelled_rows(workspace: WorkspaceReader, days: Span, as_of: str, read: Mapping[str, Input]) -> Iterator[pa.Table]:
    """Yield in chunks the rows of ``days`` whose outcomes were known at the clock of ``as_of``, with features."""
    case = workspace.case

    def query(con: duckdb.DuckDBPyConnection, span: Span) -> str:
        for name in case.partitioned_raw:
            table = case.table("raw", name)
            workspace.attach(con, name, table, Span(first=span.first, last=as_of).keys, read[table].version)
        return feature_sql.training_rows(con, case, span, as_of)

    lookup = features.lookup(workspace, read)
    for chunk in streaming.chunks(workspace, days, query, case.predictions.key):
        yield lookup.add_to(chunk)


# ---- as evidence ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Evaluation:
    """What the offset does on the test days, each day with the offset that it would have had.

    Attributes:
        plain, shifted: metrics by name, without and with the offset.
        differences: metrics with minus without the offset, by name, on the same resampled days.
        offsets: offset by day.
    """

    plain: dict[str, Interval]
    shifted: dict[str, Interval]
    differences: dict[str, Difference]
    offsets: dict[str, float]

    @property
    def sentence(self) -> str:
        """Return a sentence that introduces the table to readers of a model card."""
        low, high = min(self.offsets.values()), max(self.offsets.values())
        return (
            "Scoring adds an offset to the log odds, learnt each day from the newest known outcomes. On the test "
            f"days, with the offset that each would have had ({low:+.3f} to {high:+.3f}):"
        )

    @property
    def table(self) -> tuple[tuple[str, ...], ...]:
        """Return each metric with and without the offset; the first row names the columns."""
        rows = [("metric", f"{MODEL} as it is", "with the offset", "difference")]
        rows += [(n, _text(self.plain[n]), _text(self.shifted[n]), _text(self.differences[n])) for n in self.plain]
        return tuple(rows)


def evidence_of(workspace: Workspace, challenger: Challenger) -> Evaluation | None:
    """Evaluate the offset on the test days of ``challenger``; None where the spec asks for no recalibration."""
    if workspace.case.scoring.recalibration is None:
        return None
    data = challenger.trained_on
    table = open_training_set(data.uri, data.version, data.fingerprint).table
    windows = split(table, workspace.case.training)
    return evaluate(load_model(challenger.model_dir), windows, workspace.case, workspace.settings.threads)


def evaluate(model: LoadedModel, windows: Windows, case: UseCase, threads: int = 1) -> Evaluation:
    """Measure ``model`` on the test window without and with the offset of each day."""
    test, settings = windows.test, case.training
    plain = model.predict(test.table, threads)
    shifted, found = shifted_test(model, windows, case, threads)
    return Evaluation(
        plain=_intervals(test, plain, settings),
        shifted=_intervals(test, shifted, settings),
        differences=differences(test, shifted, plain, settings),
        offsets={day: state.offset for day, state in found.items()},
    )


def shifted_test(
    model: LoadedModel, windows: Windows, case: UseCase, threads: int = 1
) -> tuple[Floats, dict[str, State]]:
    """Predict the test rows as scoring would have done day by day, and return each day's state too.

    The first test days learn from validation days, which came before them.
    """
    test, spec = windows.test, case.scoring.recalibration
    plain = model.predict(test.table, threads)
    if spec is None:
        return plain, {}
    before = windows.valid.table
    rows = pa.concat_tables([before, test.table])
    predicted = np.concatenate([model.predict(before, threads), plain])
    known = known_rows(rows, predicted, case.training.label, case.training.period_column)
    found = {key: learn(key, known, case, spec) for key in test.keys}
    offsets = np.array([found[key].offset for key in test.keys])[test.codes]
    return _apply_each(plain, offsets), found


def _apply_each(predicted: Floats, offsets: Floats) -> Floats:
    shifted = predicted.copy()
    for offset in np.unique(offsets):
        rows = offsets == offset
        shifted[rows] = apply(predicted[rows], float(offset))
    return shifted


def _intervals(test: Window, predicted: Floats, settings: ModelSettings) -> dict[str, Interval]:
    return {
        one.name: interval_of(one, test.y, predicted, test.blocks, resamples=settings.resamples, seed=settings.seed)
        for one in metrics_for(settings.task)
    }


def _text(found: Interval) -> str:
    if found.value is None:
        return "undefined"
    bounds = "" if found.low is None else f" [{found.low:.4f}, {found.high:.4f}]"
    return f"{found.value:.4f}{bounds}"
