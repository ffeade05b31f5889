"""Baselines: predictions that need no model and that a candidate must beat."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from include.spec.training import Baseline, ConstantBaseline, HistoryBaseline
from include.training.data import Window

Floats = NDArray[np.float64]


def predict_baseline(baseline: Baseline, train: Window, window: Window) -> Floats:
    """Predict ``window`` from what ``train`` shows; shape (rows of window,)."""
    if isinstance(baseline, ConstantBaseline):
        return np.full(len(window.y), train.y.mean())
    return _history(baseline, train, window)


def _history(baseline: HistoryBaseline, train: Window, window: Window) -> Floats:
    mean = float(train.y.mean())
    groups = pa.concat_arrays(
        [_group_of(train.table, baseline.by), _group_of(window.table, baseline.by)]
    ).dictionary_encode()
    codes = groups.indices.to_numpy()
    seen, asked = codes[: len(train.y)], codes[len(train.y) :]
    count = np.bincount(seen, minlength=len(groups.dictionary))
    total = np.bincount(seen, weights=train.y, minlength=len(groups.dictionary))
    weight = count + baseline.smoothing
    rate = np.divide(total + baseline.smoothing * mean, weight, out=np.full(len(count), mean), where=weight > 0)
    return np.asarray(rate[asked], dtype=np.float64)


def _group_of(table: pa.Table, columns: list[str]) -> pa.Array:
    # null is a group of its own; the separator does not occur in typed values
    parts = [pc.fill_null(table.column(name).cast(pa.string()), "\x00") for name in columns]
    joined = pc.binary_join_element_wise(*parts, "\x1f")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined
