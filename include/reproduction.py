"""Proof that a candidate predicts elsewhere what it predicted where it was judged.

A new process loads the version as scoring does and predicts the sample that is stored with it. What differs
between the two processes (a library, a file, state left over from training) shows before the model scores.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from include import model_files
from include.errors import TrainingError
from include.reference import PREDICTION, read_reference
from include.settings import REPOSITORY, Settings
from include.training.metrics import Floats
from include.training.model import LoadedModel
from include.use_cases.spec import UseCase
from include.workspace import Workspace

TOLERANCE = 1e-6
"""Largest accepted difference of two predictions: sums may run in another order, models may not differ."""
_TIMEOUT_S = 300
_TIMED_RUNS = 3


class Reproduction(BaseModel):
    """What the new process found.

    Attributes:
        rows: rows of the stored sample.
        largest_difference: between a stored and a new prediction; infinite where one is not a number.
        microseconds_per_row: wall time of predicting the sample in one batch, the best of three.
        megabytes: size of the model's files, evidence and reference included.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")

    rows: int
    largest_difference: float
    microseconds_per_row: float
    megabytes: float


def reproduce(workspace: Workspace, version: int) -> Reproduction:
    """Let a new process load ``version`` and predict its stored sample.

    Raises:
        TrainingError: it cannot be loaded there, or a prediction differs.
    """
    name = f"{workspace.case.name} version {version}"
    asked = {"settings": asdict(workspace.settings), "case": workspace.case.model_dump(mode="json"), "version": version}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "include.reproduction"],
            # on standard input: addresses may hold passwords, and arguments are seen by everybody
            input=json.dumps(asked),
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TrainingError(f"{name}: a new process did not finish predicting within {_TIMEOUT_S} s") from error
    if done.returncode:
        why = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise TrainingError(f"{name} cannot be loaded in a new process: {why[0]}; train it again with this code")
    try:
        found = Reproduction.model_validate_json(done.stdout.splitlines()[-1])
    except (IndexError, ValidationError) as error:
        raise TrainingError(f"{name}: the new process answered {done.stdout[-200:]!r}") from error
    if not found.largest_difference <= TOLERANCE:
        raise TrainingError(
            f"{name}: a new process predicts up to {found.largest_difference:.3g} away from the stored sample of "
            f"{found.rows} rows; compare the library versions in its manifest with those installed, and train again"
        )
    return found


def measure(folder: Path, model: LoadedModel, threads: int) -> Reproduction:
    """Predict the sample in ``folder`` and compare; run in the new process."""
    sample = read_reference(folder).sample
    stored = sample[PREDICTION].to_numpy()
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


def main(asked: dict[str, Any]) -> None:
    """Answer one request of :func:`reproduce` on standard output."""
    workspace = Workspace(Settings(**asked["settings"]), UseCase.model_validate(asked["case"]))
    model = model_files.load(workspace, asked["version"])
    folder = model_files.folder_of(workspace, asked["version"])
    print(measure(folder, model, workspace.settings.threads).model_dump_json())


if __name__ == "__main__":
    main(json.load(sys.stdin))
