"""Baselines: predictions that need no model and that a candidate must beat."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from include.spec.training import Baseline, ConstantBaseline, HistoryBaseline
from include.training.data import Window
from include.training.predictions import targets

Floats = NDArray[np.float64]


def predict_baseline(baseline: Baseline, train: Window, window: Window) -> Floats:
    """Predict ``window`` from what ``train`` shows; shape (rows of window,), or (rows of window, classes)."""
    known = targets(train.y, len(train.classes))
    if isinstance(baseline, ConstantBaseline):
        return np.repeat(known.mean(axis=0, keepdims=True), len(window.y), axis=0)
    return _history(baseline, train, window, known)


def _history(baseline: HistoryBaseline, train: Window, window: Window, known: Floats) -> Floats:
    groups = pa.concat_arrays(
        [_group_of(train.table, baseline.by), _group_of(window.table, baseline.by)]
    ).dictionary_encode()
    codes = groups.indices.to_numpy()
    seen, asked = codes[: len(train.y)], codes[len(train.y) :]
    weight = np.bincount(seen, minlength=len(groups.dictionary)) + baseline.smoothing

    def rates(outcomes: Floats) -> Floats:
        mean = float(outcomes.mean())
        total = np.bincount(seen, weights=outcomes, minlength=len(weight))
        rate = np.divide(total + baseline.smoothing * mean, weight, out=np.full(len(weight), mean), where=weight > 0)
        return np.asarray(rate[asked], dtype=np.float64)

    return rates(known) if known.ndim == 1 else np.stack([rates(outcomes) for outcomes in known.T], axis=1)


def _group_of(table: pa.Table, columns: list[str]) -> pa.Array:
    # null is a group of its own; the separator does not occur in typed values
    parts = [pc.fill_null(table.column(name).cast(pa.string()), "\x00") for name in columns]
    joined = pc.binary_join_element_wise(*parts, "\x1f")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined
