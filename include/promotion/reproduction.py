"""The check that a model predicts in a new process what it predicted where it was evaluated, and its tolerance."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from include.monitoring.reference import read_reference
from include.training.judging.metrics import Floats
from include.training.model import LoadedModel
from include.training.predictions import of_columns

TOLERANCE = 1e-6
"""Largest accepted difference of two predictions: the order of sums may differ, the model may not."""
_TIMED_RUNS = 3


class Reproduction(BaseModel):
    """The measurements of the new process.

    Attributes:
        rows: number of rows of the stored sample.
        largest_difference: between a stored and a new prediction; infinite if one of them is not finite.
        microseconds_per_row: wall time of predicting the sample in one batch, the best of three.
        megabytes: size of the model's files, with evidence and reference.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")

    rows: int
    largest_difference: float
    microseconds_per_row: float
    megabytes: float


def measure(folder: Path, model: LoadedModel, threads: int) -> Reproduction:
    """Predict the sample in ``folder`` and compare with the stored predictions; runs in the new process."""
    sample = read_reference(folder).sample
    stored = of_columns(sample, model.manifest.classes)
    seconds = []
    for _ in range(_TIMED_RUNS):
        begun = time.perf_counter()
        predicted = model.predict(sample, threads)
        seconds.append(time.perf_counter() - begun)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Reproduction(
        rows=sample.num_rows,
        largest_difference=_largest_difference(predicted, stored),
        microseconds_per_row=min(seconds) / sample.num_rows * 1e6,
        megabytes=size / 1e6,
    )


def _largest_difference(predicted: Floats, stored: Floats) -> float:
    gap = np.abs(predicted - stored)
    return float(gap.max()) if np.isfinite(gap).all() else float("inf")
