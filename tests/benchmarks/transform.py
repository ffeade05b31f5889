"""Feature snapshots of a span of days: 13 views of the flights use case.

Subject: ``include.steps.features.stage``: check the inputs, compute, write a stage with a fingerprint of every
partition. References: the same SQL on the same Parquet files, each view copied to Parquet by DuckDB, as an engineer
would do by hand; and the same with one file for each day and view, which the lake needs to publish single days.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

from tests.benchmarks import data
from tests.benchmarks.cases import Call, Row, Scale, Target, Work
from tests.benchmarks.limits import threads


def rows(scale: Scale) -> list[Row]:
    """List one row a length of the span."""
    days = {"tiny": 40}.get(scale, 365)
    lake = str(data.made("lake", days))
    spans = [span for span in (1, 30, 365) if span <= days]
    found = [_row(lake, days, span) for span in spans]
    if spans[-1] == 365:
        whole = found[-1]
        times = Target("seconds", 10, found[0].name, per_unit=False, text="time <= 10x one day")
        found[-1] = Row(whole.name, whole.size, whole.unit, whole.subject, whole.references,
                        (*whole.targets, times), whole.series)  # fmt: skip
    return found


def _row(lake: str, days: int, span: int) -> Row:
    from include.core import partitions
    from include.use_cases.flights.source import FIRST

    last = partitions.shift(FIRST, days - 1)
    given = {"lake": lake, "first": partitions.shift(last, 1 - span), "last": last}
    name = f"{span} day{'s' if span > 1 else ''}"
    bare = "bare SQL on Parquet"
    references = (Call(bare, "bare", given), Call("the same, one file a day", "bare", given | {"daily": True}))
    return Row(name, span, "days", Call("stage features", "ours", given), references,
               (Target("seconds", 1.5, bare),), "transform")  # fmt: skip


def ours(lake: str, first: str, last: str) -> Work:
    """Set up the features step's staging of ``first``..``last``."""
    from include.core.partitions import Span
    from include.lake.records import Attempt
    from include.spec.loading import load_use_case
    from include.steps import features
    from include.steps.workspace import Workspace

    workspace = Workspace(data.settings(Path(lake)), load_use_case("flights"))
    stages = Path(lake) / "lake" / "_stages"

    def run() -> None:
        features.stage(workspace, Span(first=first, last=last), Attempt("flights", "benchmark", "transform"))

    return Work(run, before=lambda: shutil.rmtree(stages, ignore_errors=True))


def bare(lake: str, first: str, last: str, daily: bool = False) -> Work:
    """Set up the same SQL as plain copies to Parquet; with ``daily``, one file a day."""
    import duckdb

    from include.core import sql
    from include.core.partitions import Span
    from include.feature_store import feature_sql
    from include.spec.loading import load_use_case

    case = load_use_case("flights")
    keys = case.lookback(Span(first=first, last=last)).keys
    # write beside the lake: the cost of creating a file differs a lot between folders of one disk
    out = Path(tempfile.mkdtemp(prefix="bench-transform-", dir=data.CACHE))
    atexit.register(shutil.rmtree, out, ignore_errors=True)

    def run() -> None:
        with duckdb.connect(config={"threads": threads(), "memory_limit": "4GB"}) as con:
            con.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
            for name in (*case.partitioned_raw, *case.reference_raw):
                folder = Path(lake) / "lake" / case.table("raw", name)
                wanted = keys if name in case.partitioned_raw else ("reference",)
                files = [str(path) for key in wanted for path in folder.glob(f"ds={key}/*.parquet")]
                con.execute(f"CREATE VIEW {name} AS FROM {sql.partitioned_parquet(files)}")
            queries = feature_sql.compute(con, case, Span(first=first, last=last))
            for view, query in queries.items():
                target = f"{out / view}' (PARTITION_BY (ds)," if daily else f"{out / view}.parquet' ("
                con.execute(f"COPY ({query}) TO '{target} FORMAT parquet, COMPRESSION snappy)")

    def before() -> None:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()

    return Work(run, before)
