"""Profiles of the columns of a reference, small enough to be stored with the model.

A profile is JSON. It has the figures that make the drift decision as good as one on all the rows:

- up to ``EXACT_ROWS`` values: every distinct value with its count;
- above: a histogram with count *and sum* of each bin. The sums make the integral of the distribution
  function over a bin exact, so that the Wasserstein distance carries no discretisation error except in the
  few bins in which the two distribution functions cross;
- categories: the count of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pydantic import BaseModel, ConfigDict, Field

from include.core.errors import LifecycleError

Rows: TypeAlias = pa.Table | ds.Dataset
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

LARGEST = 1e150  # squares of larger numbers overflow: they count as infinite
EXACT_ROWS = 1_000  # up to this many values Evidently tests by p-value, and a histogram is too coarse for that
FEW_VALUES = 5  # up to this many distinct numbers Evidently compares as categories
MAX_CATEGORIES = 20_000
_CORE_BINS = 500
_TAIL_BINS = 50
_TAIL_SHARE = 0.001
_EDGE_SAMPLE = 100_000


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Histogram(_Frozen):
    """Counts and sums over ``(edge[i], edge[i+1]]``, from the least value to the greatest.

    ``core`` is the range ``[first, last)`` of equally wide bins, which are found by arithmetic. The bins outside
    it hold the few values of both tails, where one outlier would determine an equal width.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    sums: tuple[float, ...]
    core: tuple[int, int]


class NumericProfile(_Frozen):
    """A numeric column: finite values in ``values`` (if few, exact) or ``histogram``; others count as null."""

    n: int
    nulls: int
    std: float
    values: tuple[float, ...] = ()
    value_counts: tuple[int, ...] = ()
    histogram: Histogram | None = None


class CategoryProfile(_Frozen):
    """A categorical column: the count of each category, with the category as text."""

    n: int
    nulls: int
    counts: dict[str, int]


class ReferenceProfile(_Frozen):
    """Every profiled column of a reference, the model's predictions on it, and its label rate.

    Attributes:
        rows: rows of the reference.
        prediction: name of the prediction's column in ``numeric`` or ``categorical``, or None.
        label_rate: share of positive labels, the constant baseline; None where the label is not binary.
        label_mean: mean label, the constant baseline where the label is a number; else None.
        class_shares: share of each class among the labels, the constant baseline; empty where there are no classes.
    """

    rows: int
    numeric: dict[str, NumericProfile] = {}
    categorical: dict[str, CategoryProfile] = {}
    prediction: str | None = None
    label_rate: Annotated[float | None, Field(ge=0.0, le=1.0)] = None
    label_mean: float | None = None
    class_shares: dict[str, float] = {}

    @property
    def columns(self) -> tuple[str, ...]:
        """Every profiled column, the prediction included."""
        return (*self.numeric, *self.categorical)


def profile(
    rows: Rows,
    numeric: tuple[str, ...],
    categorical: tuple[str, ...],
    *,
    prediction: str | None = None,
    label: str | None = None,
) -> ReferenceProfile:
    """Profile ``rows`` in two passes; memory holds one batch and the sample for the edges.

    ``prediction`` is profiled as one more numeric column, unless it is listed already; ``label`` (boolean or 0/1) gives
    only the label rate, over the rows with a known label.

    Raises:
        LifecycleError: there are no rows, a column is missing or has another type.
    """
    total = count_rows(rows)
    if total == 0:
        raise LifecycleError("drift profile: the reference has no rows; profile the rows that were trained on")
    numbers = numeric if prediction is None or prediction in (*numeric, *categorical) else (*numeric, prediction)
    profiles: dict[str, NumericProfile] = {}
    for name in numbers:
        profiles[name] = _numeric_profile(rows, name, total)
    return ReferenceProfile(
        rows=total,
        numeric=profiles,
        categorical={name: _category_profile(rows, name) for name in categorical},
        prediction=prediction,
        label_rate=None if label is None else _label_rate(rows, label),
    )


def count_rows(rows: Rows) -> int:
    """Count the rows."""
    return int(rows.num_rows if isinstance(rows, pa.Table) else rows.count_rows())


def numbers_of(rows: Rows, name: str) -> Iterator[tuple[Floats, int]]:
    """Yield the finite values of each batch of a column, with the number of the other entries: null, NaN, infinite.

    Numbers beyond ``LARGEST`` count as infinite.

    Raises:
        LifecycleError: the column is missing or not numeric.
    """
    for array in _arrays(rows, name):
        try:
            values = pc.cast(array, pa.float64()).to_numpy(zero_copy_only=False)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise LifecycleError(
                f"drift: column {name!r} is {array.type}, not a number; list it as categorical"
            ) from error
        finite = np.abs(values) <= LARGEST
        kept = values if finite.all() else values[finite]
        yield kept, len(values) - len(kept)


def categories_of(rows: Rows, name: str) -> tuple[dict[str, int], int]:
    """Count each category of a column, as text, and the nulls.

    Raises:
        LifecycleError: the column is missing, or has more than ``MAX_CATEGORIES`` categories.
    """
    counts: dict[str, int] = {}
    nulls = 0
    for array in _arrays(rows, name):
        nulls += array.null_count
        counted = pc.value_counts(array.drop_null())
        texts = pc.cast(counted.field("values"), pa.string()).to_pylist()
        for text, count in zip(texts, counted.field("counts").to_pylist(), strict=True):
            counts[text] = counts.get(text, 0) + count
        if len(counts) > MAX_CATEGORIES:
            raise LifecycleError(f"drift: column {name!r} has more than {MAX_CATEGORIES} categories; leave it out")
    return counts, nulls


def bin_numbers(histogram_edges: Floats, core: tuple[int, int], values: Floats) -> tuple[Counts, Floats]:
    """Count and sum ``values`` in each bin and in one more below and above: ``len(edges) + 1`` of each.

    Bin ``i`` of the result is ``(edges[i-1], edges[i]]``; a value equal to the first edge falls into bin 1, as
    in the reference itself.
    """
    first, last = core
    low, high = histogram_edges[first], histogram_edges[last]
    scale = (last - first) / (high - low)
    # in place: the temporary arrays take the time here, not the arithmetic
    position = np.clip(values, low, high)
    position -= low
    position *= scale
    np.minimum(position, last - first - 1, out=position)
    cells = position.astype(np.intp)
    cells += first + 1
    outside = np.flatnonzero((values < low) | (values > high))
    if len(outside):
        far = values[outside]
        found = np.searchsorted(histogram_edges, far, side="left")
        found[far == histogram_edges[0]] = 1
        cells[outside] = found
    size = len(histogram_edges) + 1
    counts = np.bincount(cells, minlength=size)
    sums: Floats = np.bincount(cells, weights=values, minlength=size).astype(np.float64, copy=False)
    return counts.astype(np.int64, copy=False), sums


def _arrays(rows: Rows, name: str) -> Iterator[pa.Array]:
    if name not in rows.schema.names:
        raise LifecycleError(f"drift: column {name!r} is missing; the rows have {', '.join(rows.schema.names)}")
    # no threads of Arrow's: one task must not take the whole machine
    if isinstance(rows, ds.Dataset):
        batches: Iterator[pa.RecordBatch] = rows.to_batches(columns=[name], use_threads=False)
    else:
        batches = iter(rows.select([name]).to_batches())
    for batch in batches:
        array = batch.column(0)
        yield array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


class _Moments:
    """Count, mean and squared deviations merged batch by batch (Chan, Golub and LeVeque, 1979)."""

    def __init__(self) -> None:
        self.n, self.mean, self.squares = 0, 0.0, 0.0
        self.least, self.greatest = np.inf, -np.inf

    def add(self, values: Floats) -> None:
        """Merge one batch of finite values."""
        if not len(values):
            return
        mean, size = float(values.mean()), len(values)
        gap, total = mean - self.mean, self.n + size
        centred = values - mean
        self.squares += float(centred @ centred) + gap * gap * self.n * size / total
        self.mean += gap * size / total
        self.n = total
        self.least = min(self.least, float(values.min()))
        self.greatest = max(self.greatest, float(values.max()))

    @property
    def std(self) -> float:
        """Return the population standard deviation; 0 without values."""
        return float(np.sqrt(self.squares / self.n)) if self.n else 0.0


def _numeric_profile(rows: Rows, name: str, total: int) -> NumericProfile:
    stride = max(1, total // _EDGE_SAMPLE)
    moments, nulls, seen = _Moments(), 0, 0
    sample: list[Floats] = []
    few: dict[float, int] | None = {}
    for values, missing in numbers_of(rows, name):
        moments.add(values)
        nulls += missing
        sample.append(values[(-seen) % stride :: stride])
        seen += len(values)
        few = merge_few(few, values, limit=FEW_VALUES)
    if moments.n <= EXACT_ROWS:
        # read again: the sample holds so short a column whole only if it has few nulls
        kept = np.concatenate([v for v, _ in numbers_of(rows, name)]) if moments.n else np.empty(0)
        distinct, counts = np.unique(kept, return_counts=True)
        return NumericProfile(
            n=moments.n,
            nulls=nulls,
            std=moments.std,
            values=tuple(distinct.tolist()),
            value_counts=tuple(counts.tolist()),
        )
    exact = dict(sorted(few.items())) if few else {}
    return NumericProfile(
        n=moments.n,
        nulls=nulls,
        std=moments.std,
        values=tuple(exact),
        value_counts=tuple(exact.values()),
        histogram=_histogram(rows, name, np.concatenate(sample), moments),
    )


def merge_few(counted: dict[float, int] | None, values: Floats, limit: int) -> dict[float, int] | None:
    """Add the counts of ``values`` to ``counted``; return None once there are more than ``limit`` numbers."""
    if counted is None or not len(values):
        return counted
    # a few values show that a column is continuous, which saves sorting a million
    if len(np.unique(values[:256])) > limit:
        return None
    distinct, counts = np.unique(values, return_counts=True)
    merged = dict(counted)
    for value, count in zip(distinct.tolist(), counts.tolist(), strict=True):
        merged[value] = merged.get(value, 0) + count
    return merged if len(merged) <= limit else None


def _histogram(rows: Rows, name: str, sample: Floats, moments: _Moments) -> Histogram:
    edges, core = _edges(sample, moments.least, moments.greatest)
    counts, sums = np.zeros(len(edges) + 1, np.int64), np.zeros(len(edges) + 1)
    for values, _ in numbers_of(rows, name):
        some_counts, some_sums = bin_numbers(edges, core, values)
        counts += some_counts
        sums += some_sums
    return Histogram(
        edges=tuple(edges.tolist()),
        counts=tuple(counts[1:-1].tolist()),  # no value of the reference lies beyond its own extremes
        sums=tuple(sums[1:-1].tolist()),
        core=core,
    )


def _edges(sample: Floats, least: float, greatest: float) -> tuple[Floats, tuple[int, int]]:
    reach = max(abs(least), abs(greatest), 1e-280)
    if greatest - least <= reach * 1e-12:
        # a constant: one bin, of any small width
        return np.array([least, least + reach * 1e-9]), (0, 1)
    low, high = np.quantile(sample, [_TAIL_SHARE, 1.0 - _TAIL_SHARE])
    if not high - low > (greatest - least) * 1e-6:
        low, high = least, greatest
    core = np.linspace(low, high, _CORE_BINS + 1)
    below = _tail_edges(np.append(sample[sample < low], least))
    above = _tail_edges(np.append(sample[sample > high], greatest))
    below, above = below[below < low], above[above > high]
    return np.concatenate([below, core, above]), (len(below), len(below) + _CORE_BINS)


def _tail_edges(values: Floats) -> Floats:
    edges: Floats = np.unique(np.quantile(values, np.linspace(0.0, 1.0, _TAIL_BINS)))
    return edges


def _category_profile(rows: Rows, name: str) -> CategoryProfile:
    counts, nulls = categories_of(rows, name)
    return CategoryProfile(n=sum(counts.values()), nulls=nulls, counts=dict(sorted(counts.items())))


def _label_rate(rows: Rows, name: str) -> float:
    known = positive = 0
    for array in _arrays(rows, name):
        kept = pc.cast(array.drop_null(), pa.int64())
        known += len(kept)
        positive += pc.sum(kept).as_py() or 0
    if not known:
        raise LifecycleError(f"drift profile: no row of {name!r} has a label; profile the rows that were trained on")
    return positive / known
