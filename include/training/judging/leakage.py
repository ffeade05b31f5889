"""Probes for leakage: each feature alone, and its being null, against the label.

A feature that was known at the clock orders rows a little better than chance. A feature carries the outcome if it
alone orders rows almost perfectly, or if its absence settles the label (an aircraft is assigned only to flights that
fly).

Forty nulls among thousands of rows hardly move the area under the curve, even if all of them are positive. So the null
rows are also judged by themselves, and the rows that are not null likewise: an exact binomial test says whether
their label rate can be that of the other rows. Rows of one day share one cause (the weather station of an airport
fails in the storm that closes it), which a test of single rows ignores. So the rows must lie on several days, and
nearly all of them must have one label, not just an unusual share of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from include.spec.training import ModelSettings
from include.training.blocks import Codes, block_codes
from include.training.data import Floats, split
from include.training.judging.metrics import metric
from include.training.labels import labels_of

_SAMPLE = 40_000
_FEWEST_ROWS, _FEWEST_BLOCKS = 30, 5
_CHANCE = 1e-6  # hundreds of columns are tested, and rows of one day depend on each other
_RARE = 0.2


@dataclass(frozen=True)
class Probe:
    """One column's power over the label.

    Attributes:
        feature: the column.
        by: ``value``: its values order the rows; ``null``: only whether it is null; ``known``: the same, where
            the rows that are not null settle the label.
        auc: area under the ROC curve, 0.5 to 1, whichever direction.
        rows: rows that were looked at, or rows where the column is null (known).
        rate: mean label of those rows.
        flagged: whether it is above the threshold or nearly settles the label.
        of_class: the class that was told from all others; None where the label has no classes.
    """

    feature: str
    by: Literal["value", "null", "known"]
    auc: float
    rows: int
    rate: float
    flagged: bool
    of_class: str | None = None


def probe(
    table: pa.Table, settings: ModelSettings, *, threshold: float = 0.8, sample: int = _SAMPLE
) -> tuple[Probe, ...]:
    """Probe every feature of a training set, strongest first: its values on a seeded sample, its nulls in all rows.

    A number is judged by its rank, a category by its label rate in the other half of the sample. A
    regression label is judged as above or below its median, and each class against all others: a feature is shown with
    the class that it tells best. Being null is also flagged when it settles the
    label of the null rows, or of the others: at least 30 rows in 5 blocks (days, or longer periods), among which the
    rarer label has at most a fifth of its usual share, and which chance makes so in less than one case of a million.
    """
    windows = split(table, settings)
    encoding = windows.encoding
    rng = np.random.default_rng(settings.seed)
    asked = _questions(table, settings, windows.classes)
    blocks = block_codes(table.column(settings.period_column).cast(pa.string()).to_numpy())
    drawn, chosen = table, np.arange(table.num_rows)
    if table.num_rows > sample:
        chosen = np.sort(rng.choice(table.num_rows, sample, replace=False))
        drawn = table.take(pa.array(chosen))
    x = encoding.encode(drawn)
    half = rng.random(len(chosen)) < 0.5
    found = []
    for i, feature in enumerate(encoding.features):
        column = x[:, i].astype(np.float64)
        null = pc.is_null(table.column(feature.name), nan_is_null=True).to_numpy()
        by_value, by_null = [], []
        for name, every_y in asked.items():
            y = every_y[chosen]
            values = column if feature.categories is None else _cross_rate(column, y, half)
            by_value.append(replace(_by_value(feature.name, values, y, threshold), of_class=name))
            if null.any():
                by_null.append(replace(_by_null(feature.name, null, every_y, blocks, threshold), of_class=name))
        found += [min(probes, key=_strongest) for probes in (by_value, by_null) if probes]
    return tuple(sorted(found, key=_strongest))


def _strongest(one: Probe) -> tuple[bool, float, str, str]:
    return not one.flagged, -one.auc, one.feature, one.by


def _questions(table: pa.Table, settings: ModelSettings, classes: Sequence[str]) -> dict[str | None, Floats]:
    """Return the 0/1 labels that features are judged by, over all rows."""
    labels = labels_of(settings.task)
    return labels.questions(labels.numbers(table.column(settings.label), classes, settings.label, "whole"), classes)


def _cross_rate(codes: Floats, y: Floats, half: NDArray[np.bool_]) -> Floats:
    """Return each row's category rate, learnt from the half of the rows that does not hold the row."""
    known = np.nan_to_num(codes, nan=-1.0).astype(np.int64) + 1
    size = int(known.max()) + 1
    rates = np.empty(len(y))
    for mine in (half, ~half):
        mean = y[~mine].mean() if (~mine).any() else 0.0
        count = np.bincount(known[~mine], minlength=size)
        total = np.bincount(known[~mine], weights=y[~mine], minlength=size)
        rates[mine] = ((total + mean) / (count + 1))[known[mine]]
    return rates


def _by_value(name: str, values: Floats, y: Floats, threshold: float) -> Probe:
    known = np.isfinite(values)
    auc = _auc(y[known], values[known])
    rate = float(y[known].mean()) if known.any() else math.nan
    return Probe(name, "value", auc, int(known.sum()), rate, auc >= threshold)


def _by_null(name: str, null: NDArray[np.bool_], y: Floats, blocks: Codes, threshold: float) -> Probe:
    groups: dict[Literal["null", "known"], NDArray[np.bool_]] = {"null": null, "known": ~null}
    settled = [by for by, rows in groups.items() if _settles(rows, y, blocks)]
    by = settled[0] if settled else "null"
    rows = groups[by]
    auc = _auc_of(null, y)
    return Probe(name, by, auc, int(rows.sum()), float(y[rows].mean()), bool(settled) or auc >= threshold)


def _auc(y: Floats, values: Floats) -> float:
    auc = metric("auc").value(y, values) if len(y) else math.nan
    return 0.5 if math.isnan(auc) else max(auc, 1 - auc)


def _auc_of(chosen: NDArray[np.bool_], y: Floats) -> float:
    """Return the area under the curve of a yes-or-no column, without sorting all rows."""
    positives, negatives = float(y.sum()), float(len(y) - y.sum())
    if positives == 0 or negatives == 0:
        return 0.5
    hits = float(y[chosen].sum())
    return 0.5 + abs(hits / positives - (int(chosen.sum()) - hits) / negatives) / 2


def _settles(rows: NDArray[np.bool_], y: Floats, blocks: Codes) -> bool:
    """Return whether nearly all of ``rows`` have one label, in several blocks, and not by chance."""
    count = int(rows.sum())
    if count < _FEWEST_ROWS or count == len(y):
        return False
    rate, base = float(y[rows].mean()), float(y.mean())
    if min(rate, 1 - rate) > _RARE * min(base, 1 - base) or len(np.unique(blocks[rows])) < _FEWEST_BLOCKS:
        return False
    # few columns come this far, and the import takes longer than all the rest
    from scipy.stats import binomtest

    return bool(binomtest(int(y[rows].sum()), count, float(y[~rows].mean())).pvalue < _CHANCE)
