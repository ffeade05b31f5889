"""Baselines: predictions that need no model and that a candidate must beat."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from include.core import partitions
from include.spec.training import Baseline, ConstantBaseline, HistoryBaseline, SeasonalBaseline
from include.training.data import Window, Windows
from include.training.predictions import targets

Floats = NDArray[np.float64]


def predict_baseline(baseline: Baseline, windows: Windows, window: Window) -> Floats:
    """Predict ``window``, one of ``windows``; shape (rows of window,), or (rows of window, classes).

    Rates are those of the train window. The seasonal baseline also looks into later windows, up to its distance before
    each row: by then these outcomes are known.
    """
    train, classes = windows.train, len(windows.train.classes)
    known = targets(train.y, classes)
    mean = known.mean(axis=0, keepdims=True)
    match baseline:
        case ConstantBaseline():
            return np.repeat(mean, len(window.y), axis=0)
        case HistoryBaseline():
            groups = _group_of(train.table, baseline.by), _group_of(window.table, baseline.by)
            return _rates(*groups, known, mean[0], baseline.smoothing)
        case SeasonalBaseline():
            every = (windows.train, windows.valid, windows.test)
            seen = pa.concat_arrays([_in_period(one, baseline.by, 0) for one in every])
            asked = _in_period(window, baseline.by, -baseline.periods_before)
            outcomes = np.concatenate([targets(one.y, classes) for one in every])
            return _rates(seen, asked, outcomes, mean[0], baseline.smoothing)


def _rates(seen: pa.Array, asked: pa.Array, outcomes: Floats, means: Floats, smoothing: float) -> Floats:
    """Return the mean outcome of each asked group, drawn towards ``means``; unseen groups get ``means``."""
    groups = pa.concat_arrays([seen, asked]).dictionary_encode()
    codes = groups.indices.to_numpy()
    of_seen, of_asked = codes[: len(seen)], codes[len(seen) :]
    weight = np.bincount(of_seen, minlength=len(groups.dictionary)) + smoothing

    def rates(outcomes: Floats, mean: float) -> Floats:
        total = np.bincount(of_seen, weights=outcomes, minlength=len(weight))
        rate = np.divide(total + smoothing * mean, weight, out=np.full(len(weight), mean), where=weight > 0)
        return np.asarray(rate[of_asked], dtype=np.float64)

    if outcomes.ndim == 1:
        return rates(outcomes, float(means))
    return np.stack([rates(*pair) for pair in zip(outcomes.T, means, strict=True)], axis=1)


def _in_period(window: Window, columns: list[str], shift: int) -> pa.Array:
    """Return the group of each row in the period that lies ``shift`` periods after its own."""
    keys = pa.array([partitions.shift(key, shift) for key in window.keys]).take(pa.array(window.codes))
    found: pa.Array = pc.binary_join_element_wise(keys, _group_of(window.table, columns), "\x1f")
    return found


def _group_of(table: pa.Table, columns: list[str]) -> pa.Array:
    # null is a group of its own; the separator does not occur in typed values
    parts = [pc.fill_null(table.column(name).cast(pa.string()), "\x00") for name in columns]
    joined = pc.binary_join_element_wise(*parts, "\x1f")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined
