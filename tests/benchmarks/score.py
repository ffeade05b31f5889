"""The score step of one big partition: from published features to a staged file, with a model of 47 trees.

Subject: the step's ``stage`` as the task calls it, for one day of the flights use case: read the schedule, join the 13
feature views as of the clock, encode, predict, sort, write, fingerprint. The model's files lie in the data set, so no
MLflow is asked. Reference: ``booster.predict`` alone on a finished float32 matrix of the same rows; for more than a
million rows it predicts the matrix of the first million again and again, because the whole matrix would not fit.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from tests.benchmarks import data
from tests.benchmarks.cases import Call, Facts, Row, Scale, Target, Work
from tests.benchmarks.limits import threads

MATRIX_ROWS = 1_000_000
VERSION = 1


def rows(scale: Scale) -> list[Row]:
    """List one row a size of the partition."""
    # the step holds a whole day: 20,000,000 rows come back as a size when it streams
    sizes = {"tiny": [20_000, 100_000], "small": [100_000, 400_000]}.get(scale, [100_000, 1_000_000])
    found: list[Row] = []
    for size in sizes:
        given = {"day": str(data.made("scored_day", size)), "size": size}
        bare = "bare booster.predict"
        targets = []
        if found:
            # not at the smallest size, where the fixed cost of the step is most of its time
            targets.append(Target("cpu", 5, bare, text="CPU <= 5x bare booster.predict"))
            targets.append(Target("peak", 1.1, found[0].name, text=f"peak memory <= 1.1x that of {found[0].name}"))
        subject = Call("score step", "ours", given, fresh=True)
        reference = Call(bare, "bare", given)
        found.append(Row(f"{size:,} rows", size, "rows", subject, (reference,), tuple(targets), "score"))
    return found


def ours(day: str, size: int) -> Work:
    """Set up the step's staging of the data set's partition."""
    from include.core.partitions import Span
    from include.lake.records import Attempt
    from include.registry import files
    from include.spec.loading import load_use_case
    from include.steps import features
    from include.steps.score import predicting
    from include.steps.workspace import Workspace
    from include.training.model import load_model
    from tests.benchmarks.generators import SCORED_DAY

    workspace = Workspace(data.settings(Path(day)), load_use_case("flights"))
    features.apply_definitions(workspace)
    vars(files)["load"] = lambda settings, use_case, version: load_model(Path(day) / "model")
    attempt = Attempt(workspace.case.name, "benchmark", "score")
    folders: dict[str, str] = {}

    def run() -> Facts:
        used = time.process_time()
        folders.update(predicting.stage(workspace, Span.one(SCORED_DAY), str(VERSION), attempt).folders)
        return {"rows_per_cpu_s": round(size / (time.process_time() - used))}

    def after() -> Facts:
        return _answer(*_staged(folders[workspace.case.table("predictions", "scores")]))

    return Work(run, lambda: shutil.rmtree(Path(day) / "lake" / "_stages", ignore_errors=True), after)


def bare(day: str, size: int) -> Work:
    """Set up LightGBM's own ``predict`` on a finished matrix."""
    import numpy as np
    import pyarrow.parquet as pq

    from include.training.families.boosting import Trees
    from include.training.model import load_model

    model = load_model(Path(day) / "model")
    once = model.encoding.encode(pq.read_table(Path(day) / "real.parquet", partitioning=None))
    # the partition consists of copies of these rows in this order
    matrix = np.resize(once, (min(size, MATRIX_ROWS), once.shape[1]))
    assert isinstance(model.model, Trees)
    booster = model.model.booster

    def run() -> Facts:
        total = 0.0
        for _ in range(size // len(matrix)):
            total = float(np.asarray(booster.predict(matrix, num_threads=threads())).sum())
        return _answer(size, total)

    return Work(run)


def _staged(folder: str) -> tuple[int, float]:
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    count, total = 0, 0.0
    for batch in ds.dataset(folder, format="parquet", exclude_invalid_files=True).to_batches(columns=["prediction"]):
        count, total = count + len(batch), total + float(pc.sum(batch["prediction"]).as_py() or 0.0)
    return count, total


def _answer(count: int, total: float) -> Facts:
    """Return number and sum of the predictions; no answer where the reference repeats its matrix."""
    return {"answer": [count, round(total, 3)] if count <= MATRIX_ROWS else None}
