"""Publishing partitions: predictions of 1, 30 and 365 days in one commit, and four writers at once.

Subject: ``Lake.stage`` and ``Lake.publish``: files beside the table, a fingerprint of each partition, one publish
record, one commit. Reference: ``write_deltalake`` replacing the same partitions of a table by predicate, with the same
compression. Both write into a table that holds the year. Each of the four writers writes its own 30 days eight times;
``conflicts`` counts the errors that reached a caller.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from include.core import partitions
from tests.benchmarks.cases import Call, Facts, Row, Scale, Target, Work
from tests.benchmarks.limits import threads

TABLE = "bench/predictions/scores"
FIRST = "2013-01-01"
ROWS_A_DAY = 900
WRITERS, TIMES = 4, 8


def rows(scale: Scale) -> list[Row]:
    """List one row a number of partitions, and the concurrent writers."""
    spans = (1, 30) if scale == "tiny" else (1, 30, 365)
    bare = "write_deltalake"
    found = [
        Row(f"{span} partitions", span, "partitions", Call("stage and publish", "ours", {"span": span}),
            (Call(bare, "bare", {"span": span}), Call("publish alone", "ours", {"span": span, "staged": True})),
            (Target("seconds", 1.2, bare),), "publish")
        for span in spans
    ]  # fmt: skip
    span = 2 if scale == "tiny" else 30
    found.append(
        Row(f"{WRITERS} writers at once", span * WRITERS * TIMES, "partitions",
            Call("stage and publish", "ours_at_once", {"span": span}), (Call(bare, "bare_at_once", {"span": span}),),
            (Target("seconds", 1.2, bare), Target("conflicts", 0, text="conflicts that surface: 0")))
    )  # fmt: skip
    return found


def scores(first: str, span: int, seed: int) -> Any:
    """Generate predictions of ``span`` days, sorted by day; another seed gives other values."""
    import numpy as np
    import pyarrow as pa

    draw = np.random.default_rng(seed)
    keys = partitions.key_range(first, partitions.shift(first, span - 1))
    count = span * ROWS_A_DAY
    return pa.table(
        {
            "carrier": pa.array(np.tile(np.array(["AA", "B6", "DL", "EV", "UA", "US"]), count // 6)),
            "flight": pa.array(np.tile(np.arange(ROWS_A_DAY), span)),
            "origin": pa.array(np.tile(np.array(["EWR", "JFK", "LGA"]), count // 3)),
            "prediction": pa.array(draw.random(count)),
            "model_version": pa.array(np.full(count, 7)),
            "features_version": pa.array(np.repeat(np.array([f"{n:016x}" for n in range(span)]), ROWS_A_DAY)),
            "ds": pa.array(np.repeat(np.array(keys), ROWS_A_DAY)),
        }
    )


class _Ours:
    """A lake, with methods that stage and publish predictions into it."""

    def __init__(self, root: str) -> None:
        from include.lake.lake import Lake

        self.lake, self.number = Lake(root, threads=threads()), 0

    def stage(self, first: str, span: int, table: Any) -> Any:
        from include.lake.records import Attempt

        self.number += 1
        attempt = Attempt("bench", f"benchmark-{first}", f"run-{os.getpid()}-{self.number}")
        keys = partitions.key_range(first, partitions.shift(first, span - 1))
        return self.lake.stage(TABLE, table.to_reader(), keys, attempt, ("carrier", "flight", "origin")), attempt

    def publish(self, staged: Any) -> None:
        self.lake.publish(*staged)
        self.lake.discard(staged[0])


def ours(span: int, staged: bool = False) -> Work:
    """Set up stage and publish of ``span`` days; with ``staged``, publish alone."""
    root = tempfile.mkdtemp(prefix="bench-publish-")
    lake = _Ours(root)
    lake.publish(lake.stage(FIRST, 365, scores(FIRST, 365, 0)))
    waiting: list[Any] = []

    def before() -> None:
        table = scores(FIRST, span, lake.number)
        waiting[:] = [lake.stage(FIRST, span, table) if staged else table]

    def run() -> None:
        lake.publish(waiting[0] if staged else lake.stage(FIRST, span, waiting[0]))

    return _removed(Work(run, before), root)


def bare(span: int) -> Work:
    """Set up ``write_deltalake`` of ``span`` days."""
    root = tempfile.mkdtemp(prefix="bench-publish-")
    _write_bare(root, FIRST, 365, scores(FIRST, 365, 0))
    numbers = iter(range(1, 1000))
    waiting: list[Any] = []

    def before() -> None:
        waiting[:] = [scores(FIRST, span, next(numbers))]

    return _removed(Work(lambda: _write_bare(root, FIRST, span, waiting[0]), before), root)


def _write_bare(root: str, first: str, span: int, table: Any) -> None:
    from deltalake import WriterProperties, write_deltalake

    last = partitions.shift(first, span - 1)
    write_deltalake(
        root,
        table,
        mode="overwrite",
        partition_by=["ds"],
        writer_properties=WriterProperties(compression="SNAPPY"),
        predicate=f"ds >= '{first}' AND ds <= '{last}'" if Path(root, "_delta_log").exists() else None,
    )


def ours_at_once(span: int) -> Work:
    """Set up four concurrent writers that stage and publish."""
    root = tempfile.mkdtemp(prefix="bench-publish-")
    lake = _Ours(root)
    lake.publish(lake.stage(FIRST, 365, scores(FIRST, 365, 0)))
    return _removed(_at_once(_ours_often, root, span), root)


def bare_at_once(span: int) -> Work:
    """Set up four concurrent writers with ``write_deltalake``."""
    root = tempfile.mkdtemp(prefix="bench-publish-")
    _write_bare(root, FIRST, 365, scores(FIRST, 365, 0))
    return _removed(_at_once(_bare_often, root, span), root)


def _at_once(often: Callable[[str, int, int, int], int], root: str, span: int) -> Work:
    # start the processes before the measurement
    pool = multiprocessing.get_context("spawn").Pool(WRITERS)
    rounds = iter(range(1, 1000))

    def run() -> Facts:
        this = next(rounds)
        asked = [(root, span, writer, this) for writer in range(WRITERS)]
        return {"conflicts": sum(pool.starmap(often, asked, chunksize=1))}

    pool.starmap(often, [(root, 1, writer, 0) for writer in range(WRITERS)], chunksize=1)
    return Work(run)


def _ours_often(root: str, span: int, writer: int, this: int) -> int:
    lake = _Ours(root)
    first = partitions.shift(FIRST, writer * span)
    for time in range(TIMES):
        lake.publish(lake.stage(first, span, scores(first, span, 1000 * this + 10 * time + writer)))
    return 0


def _bare_often(root: str, span: int, writer: int, this: int) -> int:
    from deltalake.exceptions import CommitFailedError

    conflicts = 0
    for time in range(TIMES):
        try:
            first = partitions.shift(FIRST, writer * span)
            _write_bare(root, first, span, scores(first, span, 1000 * this + 10 * time + writer))
        except CommitFailedError:
            conflicts += 1
    return conflicts


def _removed(work: Work, root: str) -> Work:
    import atexit

    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return work
