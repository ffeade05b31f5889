"""Predicting rows from Parquet: 21 features (18 numbers, 3 categories), a LightGBM model of 47 trees.

Subject: ``LoadedModel.predict_batches`` over the file, as scoring streams it. Reference: ``booster.predict``
alone on a finished float32 matrix, which leaves out reading, decoding and encoding. For 20 million rows the
reference predicts the matrix of the first million twenty times over, because its own would not fit.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks import data
from tests.benchmarks.cases import Call, Facts, Row, Scale, Target, Work
from tests.benchmarks.limits import threads

TREES, MATRIX_ROWS = 47, 1_000_000


def rows(scale: Scale) -> list[Row]:
    sizes = {"tiny": [20_000, 100_000], "small": [100_000, 1_000_000]}.get(scale, [1_000_000, 20_000_000])
    found: list[Row] = []
    for size in sizes:
        given = {"rows": str(data.made("scored", size))}
        bare = "bare booster.predict"
        targets = [Target("cpu", 0.9, bare, faster=True, text="rows per CPU-second >= 0.9x bare booster.predict")]
        if found:
            targets.append(Target("peak", 1.1, found[0].name, text=f"peak memory <= 1.1x that of {found[0].name}"))
        subject = Call("predict_batches", "ours", given, fresh=True)
        found.append(Row(f"{size:,} rows", size, "rows", subject, (Call(bare, "bare", given),),
                         tuple(targets), "score"))  # fmt: skip
    return found


def ours(rows: str) -> Work:
    import pyarrow.parquet as pq

    file = Path(rows) / "rows.parquet"
    model = _model(file)

    def run() -> Facts:
        count, total = 0, 0.0
        # pre_buffer would hold all that was ever read; categories lie in the file as a dictionary and may stay one
        with pq.ParquetFile(file, pre_buffer=False, read_dictionary=["carrier", "origin", "dest"]) as opened:
            names = list(model.encoding.names)
            batches = opened.iter_batches(100_000, columns=names, use_threads=threads() > 1)
            for _, predicted in model.predict_batches(batches, threads()):
                count, total = count + len(predicted), total + float(predicted.sum())
        return {"answer": [count, round(total, 3)] if count <= MATRIX_ROWS else None}

    return Work(run)


def bare(rows: str) -> Work:
    import numpy as np
    import pyarrow.parquet as pq

    file = Path(rows) / "rows.parquet"
    model = _model(file)
    size = pq.read_metadata(file).num_rows
    parts = []
    with pq.ParquetFile(file, pre_buffer=False) as opened:
        for batch in opened.iter_batches(100_000, columns=list(model.encoding.names)):
            parts.append(model.encoding.encode(batch))
            if 100_000 * len(parts) >= MATRIX_ROWS:
                break
    matrix = np.concatenate(parts)
    booster = model.model.booster

    def run() -> Facts:
        total = 0.0
        for _ in range(size // len(matrix)):
            total = float(booster.predict(matrix, num_threads=threads()).sum())
        return {"answer": [size, round(total, 3)] if size <= MATRIX_ROWS else None}

    return Work(run)


def _model(file: Path) -> Any:
    """A model fitted on the first rows of ``file``, written and read back as a registered one is."""
    import lightgbm as lgb
    import pyarrow.parquet as pq

    from include.training.data import Encoding, Feature
    from include.training.families.boosting import Trees
    from include.training.model import LoadedModel, Manifest, TrainingSetRecord, load_model, save_model

    with pq.ParquetFile(file, pre_buffer=False) as opened:
        sample = next(opened.iter_batches(20_000))
    names = [name for name in sample.schema.names if name not in ("disrupted", "ds")]
    texts = {name: tuple(sorted(set(sample.column(name).to_pylist()))) for name in ("carrier", "origin", "dest")}
    encoding = Encoding(tuple(Feature(name=name, categories=texts.get(name)) for name in names))
    given = {"objective": "binary", "verbosity": -1, "num_threads": threads(), "num_leaves": 31, "seed": 0,
             "deterministic": True, "force_row_wise": True}  # fmt: skip
    label = sample.column("disrupted").to_numpy().astype(float)
    rows = lgb.Dataset(encoding.encode(sample), label, categorical_feature=list(encoding.categorical))
    booster = lgb.train(given, rows, TREES)
    manifest = Manifest(
        use_case="bench", task="binary", label="disrupted", family="lightgbm", params={}, features=encoding.features,
        calibration="none", training_set=TrainingSetRecord(fingerprint="", uri="", version=None, windows={}),
        trained_through="2013-01-01", seed=0, threads=threads(), study="bench", trial=0, metric="log_loss",
        search_value=0.0, fit_value=0.0, libraries={}, settings={},
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        save_model(LoadedModel(manifest, Trees(booster), None), Path(folder))
        return load_model(folder)
