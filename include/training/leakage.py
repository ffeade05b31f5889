"""Does one column already know the answer? Each feature alone, and its being null, against the label.

A feature made of what was known at the clock orders rows a little better than chance. One that alone
orders them almost perfectly, or whose absence settles the label (an aircraft is assigned only to
flights that fly), carries the outcome.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from include.training.data import Floats, split
from include.training.metrics import metric
from include.training.spec import ModelSettings

_SAMPLE = 40_000
_SMALLEST_GROUP = 50


@dataclass(frozen=True)
class Probe:
    """One column's power over the label.

    Attributes:
        feature: the column.
        by: ``value``: its values order the rows; ``null``: only whether it is null.
        auc: area under the ROC curve, 0.5 to 1, whichever direction.
        rows: rows that were looked at, or rows where the column is null.
        rate: mean label of those rows.
        flagged: whether it is above the threshold or nearly settles the label.
    """

    feature: str
    by: Literal["value", "null"]
    auc: float
    rows: int
    rate: float
    flagged: bool


def probe(
    table: pa.Table, settings: ModelSettings, *, threshold: float = 0.8, sample: int = _SAMPLE
) -> tuple[Probe, ...]:
    """Probe every feature of a training set on a seeded sample, strongest first.

    A number is judged by its rank, a category by its label rate in the other half of the sample. A
    regression label is judged as above or below its median. Being null is also flagged when the
    label hardly varies among the null rows, however few they are.
    """
    windows = split(table, settings)
    encoding = windows.encoding
    rng = np.random.default_rng(settings.seed)
    if table.num_rows > sample:
        table = table.take(pa.array(np.sort(rng.choice(table.num_rows, sample, replace=False))))
    y = _classes(table, settings)
    x = encoding.encode(table)
    half = rng.random(len(y)) < 0.5
    found = []
    for i, feature in enumerate(encoding.features):
        null = np.isnan(x[:, i])
        values = x[:, i].astype(np.float64)
        if feature.categories is not None:
            null = pc.is_null(table.column(feature.name)).to_numpy()
            values = _cross_rate(values, y, half)
        found.append(_by_value(feature.name, values, y, threshold))
        if null.any():
            found.append(_by_null(feature.name, null, y, threshold))
    return tuple(sorted(found, key=lambda one: (not one.flagged, -one.auc, one.feature, one.by)))


def _classes(table: pa.Table, settings: ModelSettings) -> Floats:
    y: Floats = table.column(settings.label).cast(pa.float64()).to_numpy()
    return y if settings.task == "binary" else (y > np.median(y)).astype(np.float64)


def _cross_rate(codes: Floats, y: Floats, half: NDArray[np.bool_]) -> Floats:
    """Each row's category rate, learnt from the half of the rows that it is not in."""
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


def _by_null(name: str, null: NDArray[np.bool_], y: Floats, threshold: float) -> Probe:
    auc = _auc(y, null.astype(np.float64))
    rate = float(y[null].mean())
    return Probe(
        name,
        "null",
        auc,
        int(null.sum()),
        rate,
        auc >= threshold or _settles(rate, int(null.sum()), y.mean()),
    )


def _auc(y: Floats, values: Floats) -> float:
    auc = metric("auc").value(y, values) if len(y) else math.nan
    return 0.5 if math.isnan(auc) else max(auc, 1 - auc)


def _settles(rate: float, rows: int, base: float) -> bool:
    """Whether the rarer label among ``rows`` is surely (95 %) below a fifth of its usual share."""
    if rows < _SMALLEST_GROUP:
        return False
    z, rare = 1.96, min(rate, 1 - rate)
    centre = rare + z * z / (2 * rows)
    spread = z * math.sqrt(rare * (1 - rare) / rows + z * z / (4 * rows * rows))
    return (centre + spread) / (1 + z * z / rows) < 0.2 * min(base, 1 - base)
