"""The drift decision: all the rows of a window against the profile stored with the model.

Methods, thresholds and the choice between them are the defaults of Evidently 0.7.23
(``evidently.legacy.calculations.stattests``), computed from counts, so that the decision on the full data
and an Evidently report on a sample follow one rule. As in Evidently, nulls, NaN and infinities are left out of
the comparison; numbers beyond ``profile.LARGEST`` count as infinite. A column that lost all its values, or gained its
first, has drifted (``all_null``); Evidently raises an error there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.spatial import distance

from include.core.errors import LifecycleError
from include.monitoring.profile import (
    EXACT_ROWS,
    FEW_VALUES,
    CategoryProfile,
    Counts,
    Floats,
    Histogram,
    NumericProfile,
    ReferenceProfile,
    Rows,
    bin_numbers,
    categories_of,
    count_rows,
    merge_few,
    numbers_of,
    profile,
)
from include.spec.monitoring import DriftSpec

__all__ = ["ColumnDrift", "DatasetDrift", "ReferenceProfile", "dataset_verdict", "decide", "profile"]

_LEAST_STD = 0.001  # Evidently's lower limit of the norm, so that a constant column can be compared


@dataclass(frozen=True)
class ColumnDrift:
    """The verdict on one column.

    Attributes:
        method: ``wasserstein``, ``jensenshannon`` (drift at or above the threshold), ``ks`` (at or below),
            ``chisquare``, ``z`` (below), or ``all_null``.
        statistic: the distance, or the p-value.
        n_reference, n_current: numbers of compared values, nulls left out.
    """

    column: str
    method: str
    statistic: float
    threshold: float
    drifted: bool
    n_reference: int
    n_current: int


@dataclass(frozen=True)
class DatasetDrift:
    """The verdict on a window: the share of the decided feature columns that drifted, against its limit."""

    share: float
    threshold: float
    drifted: bool
    n_drifted: int
    n_columns: int


def decide(reference: ReferenceProfile, current: Rows, spec: DriftSpec) -> list[ColumnDrift]:
    """Decide for every profiled column (the prediction too) that ``spec`` does not exclude.

    ``current`` is streamed column by column; memory holds one batch at a time.

    Raises:
        LifecycleError: ``current`` has no rows or lacks a column, or ``spec`` excludes an unknown one.
    """
    unknown = sorted(set(spec.exclude) - set(reference.columns))
    if unknown:
        raise LifecycleError(
            f"drift.exclude names {', '.join(unknown)}, which the reference does not have; "
            f"it has {', '.join(reference.columns)}"
        )
    if count_rows(current) == 0:
        raise LifecycleError("drift: the window has no rows; publish its partitions before the monitor step runs")
    verdicts = []
    for name, numbers in reference.numeric.items():
        if name not in spec.exclude:
            verdicts.append(_decide_numeric(name, numbers, current, spec))
    for name, categories in reference.categorical.items():
        if name not in spec.exclude:
            verdicts.append(_decide_categorical(name, categories, current, spec))
    return verdicts


def dataset_verdict(
    verdicts: Sequence[ColumnDrift], spec: DriftSpec, *, predictions: Sequence[str] = ()
) -> DatasetDrift:
    """Decide for the whole window by the share of drifted columns; verdicts on ``predictions`` do not count.

    Raises:
        LifecycleError: no column is left to decide by.
    """
    features = [verdict for verdict in verdicts if verdict.column not in predictions]
    if not features:
        raise LifecycleError("drift: every column is excluded; leave at least one for the decision")
    drifted = sum(verdict.drifted for verdict in features)
    share = drifted / len(features)
    return DatasetDrift(share, spec.drift_share, share >= spec.drift_share, drifted, len(features))


def _decide_numeric(name: str, reference: NumericProfile, current: Rows, spec: DriftSpec) -> ColumnDrift:
    seen = _Seen(reference)
    for values, _ in numbers_of(current, name):
        seen.add(values)
    if not reference.n or not seen.n:
        return _without_values(name, reference.n, seen.n)
    few = seen.few()
    if few is not None:
        own = dict(zip(reference.values, reference.value_counts, strict=True))
        return _by_categories(name, own, few, spec)
    if reference.n <= EXACT_ROWS:
        p_value = float(stats.ks_2samp(*seen.collapsed()).pvalue)
        return ColumnDrift(
            name,
            "ks",
            p_value,
            spec.p_value_threshold,
            p_value <= spec.p_value_threshold,
            reference.n,
            seen.n,
        )
    distance_normed = seen.wasserstein() / max(reference.std, _LEAST_STD)
    drifted = distance_normed >= spec.distance_threshold
    return ColumnDrift(name, "wasserstein", distance_normed, spec.distance_threshold, drifted, reference.n, seen.n)


def _decide_categorical(name: str, reference: CategoryProfile, current: Rows, spec: DriftSpec) -> ColumnDrift:
    counts, _ = categories_of(current, name)
    total = sum(counts.values())
    if not reference.n or not total:
        return _without_values(name, reference.n, total)
    return _by_categories(name, reference.counts, counts, spec)


def _without_values(name: str, n_reference: int, n_current: int) -> ColumnDrift:
    changed = n_reference != n_current
    return ColumnDrift(name, "all_null", float(changed), 1.0, changed, n_reference, n_current)


def _by_categories(
    name: str,
    reference: Mapping[str, int] | Mapping[float, int],
    current: Mapping[str, int] | Mapping[float, int],
    spec: DriftSpec,
) -> ColumnDrift:
    keys = sorted({*reference, *current})
    expected = np.array([reference.get(key, 0) for key in keys], np.float64)
    observed = np.array([current.get(key, 0) for key in keys], np.float64)
    n_reference, n_current = int(expected.sum()), int(observed.sum())
    if n_reference > EXACT_ROWS:
        apart = float(distance.jensenshannon(expected / n_reference, observed / n_current))
        apart = 0.0 if np.isnan(apart) else apart  # the root of a rounding error below zero
        drifted = apart >= spec.category_threshold
        return ColumnDrift(name, "jensenshannon", apart, spec.category_threshold, drifted, n_reference, n_current)
    if len(keys) > 2:
        method = "chisquare"
        # a category that the reference never had: its expectation of zero makes the p-value zero
        with np.errstate(divide="ignore"):
            p_value = float(stats.chisquare(observed, expected * (n_current / n_reference)).pvalue)
    else:
        method, p_value = "z", _z_test(expected, observed)
    drifted = p_value < spec.p_value_threshold
    return ColumnDrift(name, method, p_value, spec.p_value_threshold, drifted, n_reference, n_current)


def _z_test(reference: Floats, current: Floats) -> float:
    """Return the two-sided p-value of the difference of two proportions, with pooled variance."""
    if len(reference) == 1:
        return 1.0
    n_reference, n_current = reference.sum(), current.sum()
    pooled = (reference[1] + current[1]) / (n_reference + n_current)
    error = np.sqrt(pooled * (1.0 - pooled) * (1.0 / n_reference + 1.0 / n_current))
    return float(2.0 * stats.norm.sf(abs(reference[1] / n_reference - current[1] / n_current) / error))


class _Seen:
    """Counts of the current values of one numeric column, in the bins or values of its reference."""

    def __init__(self, reference: NumericProfile) -> None:
        self.n = 0
        self._reference = reference
        self._values = np.array(reference.values)
        few_in_reference = 0 < len(reference.values) <= FEW_VALUES
        self._few: dict[float, int] | None = {} if few_in_reference else None
        self._cells = np.zeros(2 * len(self._values) + 1, np.int64)
        histogram = reference.histogram
        if histogram is not None:
            self._edges = np.array(histogram.edges)
            self._counts = np.zeros(len(self._edges) + 1, np.int64)
            self._sums = np.zeros(len(self._edges) + 1)

    def add(self, values: Floats) -> None:
        """Count one batch of finite values."""
        self.n += len(values)
        self._few = merge_few(self._few, values, limit=FEW_VALUES)
        histogram = self._reference.histogram
        if histogram is not None:
            counts, sums = bin_numbers(self._edges, histogram.core, values)
            self._counts += counts
            self._sums += sums
        elif len(self._values):
            # even cells lie between two values of the reference, odd ones are exactly such a value
            cells = np.searchsorted(self._values, values, "left") + np.searchsorted(self._values, values, "right")
            self._cells += np.bincount(cells, minlength=len(self._cells))

    def few(self) -> dict[float, int] | None:
        """Return the current values with their counts if reference and current have few distinct values together."""
        if self._few is None or len({*self._few, *self._reference.values}) > FEW_VALUES:
            return None
        return self._few

    def collapsed(self) -> tuple[Floats, Floats]:
        """Return two samples with exactly the Kolmogorov-Smirnov distance of the reference and the current values.

        Only the number of current values between two neighbouring reference values matters, not their place. So the
        samples hold the numbers of the cells: between large values no other float may exist.
        """
        cells = np.arange(len(self._cells), dtype=np.float64)
        return np.repeat(cells[1::2], self._reference.value_counts), np.repeat(cells, self._cells)

    def wasserstein(self) -> float:
        """Return the area between the two distribution functions, in the column's unit."""
        histogram = self._reference.histogram
        assert histogram is not None  # references above EXACT_ROWS values always have one
        return _area(histogram, self._reference.n, self._counts, self._sums, self.n)


def _area(histogram: Histogram, n_reference: int, counts: Counts, sums: Floats, n_current: int) -> float:
    edges = np.array(histogram.edges)
    low, high = edges[:-1], edges[1:]
    reference = _integrals(np.array(histogram.counts), np.array(histogram.sums), 0, low, high) / n_reference
    current = _integrals(counts[1:-1], sums[1:-1], int(counts[0]), low, high) / n_current
    # beyond its extremes the reference's function is 0 or 1, so each value there counts by its distance
    below = counts[0] * edges[0] - sums[0]
    above = sums[-1] - counts[-1] * edges[-1]
    return float(np.abs(reference - current).sum() + (max(below, 0.0) + max(above, 0.0)) / n_current)


def _integrals(counts: Counts, sums: Floats, before: int, low: Floats, high: Floats) -> Floats:
    """Integrate, over each bin, the number of values that are at most x; exact, since the bin's sum is known."""
    at_low = before + np.concatenate([[0], np.cumsum(counts)[:-1]])
    return at_low * (high - low) + (counts * high - sums)
