"""A small training set with a known law: ``rate`` and ``carrier`` matter, ``noise`` does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from include.core import partitions
from include.spec.training import ModelSettings


def training_rows(days: int = 60, rows_a_day: int = 40, seed: int = 0) -> pa.Table:
    """``days * rows_a_day`` rows from 2013-02-01 on, sorted by day."""
    rng = np.random.default_rng(seed)
    n = days * rows_a_day
    keys = partitions.key_range("2013-02-01", partitions.shift("2013-02-01", days - 1))
    carrier = rng.choice(["AA", "B6", "UA"], n)
    rate = rng.normal(size=n)
    gap = np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n))
    score = 1.2 * rate + np.where(carrier == "B6", 1.0, 0.0) - 1.0
    chance = 1 / (1 + np.exp(-score))
    return pa.table(
        {
            "ds": np.repeat(np.array(keys), rows_a_day),
            "flight": pa.array(np.arange(n)),
            "carrier": carrier,
            "rate": rate,
            "noise": rng.normal(size=n),
            "gap": pa.array(gap, from_pandas=True),
            "disrupted": (rng.random(n) < chance).astype(np.int64),
            "delay": 10 * score + rng.normal(size=n),
        }
    )


def model_settings(**values: Any) -> ModelSettings:
    """Make settings that suit :func:`training_rows` and are quick to fit."""
    defaults: dict[str, Any] = {
        "label": "disrupted",
        "families": {
            "lightgbm": {"rounds": 20, "min_data_in_leaf": {"low": 5, "high": 50}},
            "logistic": {},
        },
        "keys": ["flight"],
        "ignore": ["delay"],
        "categorical": ["carrier"],
        "test_periods": 10,
        "valid_periods": 10,
        "trials": 5,
        "resamples": 200,
        "heartbeat_seconds": 1,
        "grace_seconds": 2,
        "seed": 3,
    }
    return ModelSettings(**(defaults | values))


REGRESSION: dict[str, Any] = {
    "task": "regression",
    "label": "delay",
    "ignore": ["disrupted"],
    "metric": "rmse",
    "families": {"lightgbm": {"rounds": 20, "min_data_in_leaf": 10}, "ridge": {}},
}

MULTICLASS: dict[str, Any] = {
    "task": "multiclass",
    "label": "state",
    "ignore": ["disrupted", "delay"],
    "families": {"lightgbm": {"rounds": 20, "min_data_in_leaf": 10}, "logistic": {}},
}
CLASSES = ("late", "on time", "verspätet")


def rows_with_classes(days: int = 60, rows_a_day: int = 40) -> pa.Table:
    """Return the rows with a label of three classes, ``state``: whose delay is small, middling or large."""
    rows = training_rows(days, rows_a_day)
    names = np.array(["on time", "late", "verspätet"])
    return rows.append_column("state", pa.array(names[np.digitize(rows["delay"].to_numpy(), [-15.0, 0.0])]))
