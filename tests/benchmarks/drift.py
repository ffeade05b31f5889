"""The drift decision on 30 columns (24 numbers, 6 categories), and the report beside it.

Subject: ``include.monitoring.drift.decide``, a window's Parquet against the stored profile. References: numpy
histograms (one ``bincount`` over equal bins for a number, ``value_counts`` for a category: the least work of any
decision on the full data) and Evidently on the full data, at the sizes that it can process. ``same_verdicts`` counts
the planted cases, moved by 0.02 to 0.28 deviations, on which our decision and Evidently agree. The report is measured
with the size of its page.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks import data
from tests.benchmarks.cases import Call, Facts, Row, Scale, Target, Work
from tests.benchmarks.data import NUMBERS, TEXTS
from tests.benchmarks.limits import threads

REFERENCE_ROWS = 100_000
PLANTED = 20
BINS = 500


def rows(scale: Scale) -> list[Row]:
    """List one row a size of the window, the planted cases and the report."""
    sizes = {"tiny": [5_000, 20_000], "small": [10_000, 100_000]}.get(scale, [10_000, 1_000_000, 20_000_000])
    full = {"tiny": 5_000, "small": 10_000}.get(scale, 100_000)
    before = str(data.made("watched", min(REFERENCE_ROWS, full), 0))
    found = [_row(before, size, sizes[-1]) for size in sizes]
    planted = {"reference": before, "current": str(data.made("watched", full, 1))}
    found.append(
        Row("planted cases", full, "rows", Call("decide", "planted", planted), (),
            (Target("same_verdicts", PLANTED, text=f"{PLANTED} of {PLANTED} verdicts as Evidently's (missing ones)"),))
    )  # fmt: skip
    found.append(
        Row("report", sizes[-1] if scale == "full" else sizes[0], "rows", Call("report", "report", planted), (),
            (Target("page_mb", 6.0, text="page <= 6 MB"),))
    )  # fmt: skip
    return found


def _row(before: str, size: int, largest: int) -> Row:
    given = {"reference": before, "current": str(data.made("watched", size, 0))}
    limit, evidently = "numpy histograms", "Evidently, full data"
    references = [Call(limit, "histograms", given, fresh=size == largest)]
    targets = [Target("seconds", 3, limit)]
    if size <= 1_000_000:
        references.append(Call(evidently, "evidently", given))
        targets.append(Target("seconds", 20, evidently, faster=True))
    subject = Call("decide", "ours", given, fresh=size == largest)
    return Row(f"{size:,} rows", size, "rows", subject, tuple(references), tuple(targets), "decision")


def ours(reference: str, current: str) -> Work:
    """Set up the drift decision of this project."""
    decide = _decision(reference, current)

    def run() -> Facts:
        return {"drifted": sum(verdict.drifted for verdict in decide())}

    return Work(run)


def planted(reference: str, current: str) -> Work:
    """Set up the decision on the planted cases, and count the verdicts that Evidently shares."""
    decide = _decision(reference, current)
    theirs = _evidently_verdicts(reference, current)
    names = [*NUMBERS[: PLANTED - len(TEXTS)], *TEXTS]

    def run() -> Facts:
        found = {verdict.column: verdict.drifted for verdict in decide()}
        same = [name for name in names if found[name] == theirs[name]]
        drifted = sum(found[name] for name in names)
        return {"same_verdicts": len(same), "drifted": drifted, "differing": sorted(set(names) - set(same))}

    return Work(run)


def _decision(reference: str, current: str) -> Any:
    import pyarrow.dataset as ds

    from include.monitoring.drift import decide, profile
    from include.spec.monitoring import DriftSpec

    def stored(folder: str) -> Any:
        return ds.dataset(f"{folder}/rows.parquet", format="parquet")

    before = profile(stored(reference), NUMBERS, TEXTS)
    return lambda: decide(before, stored(current), DriftSpec())


def histograms(reference: str, current: str) -> Work:
    """Set up one pass of numpy histograms over the window."""
    import numpy as np
    import pyarrow.dataset as ds

    source = ds.dataset(f"{current}/rows.parquet", format="parquet")
    low, scale = -10.0, BINS / 60.0

    def run() -> Facts:
        counted = 0
        for name in NUMBERS:
            total = np.zeros(BINS, np.int64)
            for batch in source.to_batches(columns=[name], use_threads=False):
                values = batch.column(0).to_numpy(zero_copy_only=False)
                cells = ((np.nan_to_num(values, nan=low) - low) * scale).astype(np.intp)
                total += np.bincount(np.clip(cells, 0, BINS - 1), minlength=BINS)
            counted += int(total.sum())
        for name in TEXTS:
            for batch in source.to_batches(columns=[name], use_threads=False):
                counted += len(batch.column(0).value_counts())
        return {"counted": counted}

    return Work(run)


def evidently(reference: str, current: str) -> Work:
    """Set up Evidently's drift preset on the full data."""
    # report on a few rows first: the measured run may be the only one, and should not include first-use costs
    _evidently_verdicts(reference, current, rows=1_000)

    def run() -> Facts:
        return {"drifted": sum(_evidently_verdicts(reference, current).values())}

    return Work(run)


def _evidently_verdicts(reference: str, current: str, rows: int | None = None) -> dict[str, bool]:
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    definition = DataDefinition(numerical_columns=list(NUMBERS), categorical_columns=list(TEXTS))
    frames = (pd.read_parquet(f"{folder}/rows.parquet", partitioning=None)[:rows] for folder in (reference, current))
    old, new = (Dataset.from_pandas(frame, definition) for frame in frames)
    with threadpool_limits(threads()):
        snapshot = Report([DataDriftPreset()], include_tests=True).run(new, old).dict()
    configs = {metric["id"]: metric["config"] for metric in snapshot["metrics"]}
    found = {}
    for test in snapshot["tests"]:
        config = configs[test["metric_config"]["metric_id"]]
        if "column" in config:
            found[config["column"]] = test["status"] not in ("SUCCESS", "success")
    return found


def report(reference: str, current: str) -> Work:
    """Set up the drift report of this project."""
    import pandas as pd

    from include.monitoring import drift_report
    from include.spec.monitoring import DriftSpec

    before, now = (pd.read_parquet(f"{folder}/rows.parquet", partitioning=None) for folder in (reference, current))
    decided = _decision(reference, current)()
    folder = tempfile.TemporaryDirectory()

    def run() -> Facts:
        written = drift_report.write(before, now, decided, Path(folder.name), categorical=TEXTS, spec=DriftSpec())
        return {"page_mb": Path(written.html).stat().st_size / 1e6, "disagreeing": sorted(written.disagreeing)}

    return Work(run)
