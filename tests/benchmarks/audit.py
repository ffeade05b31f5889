"""26 expectations over one table of outcomes, as the audit of a staged span checks them.

Subject: ``include.quality.audit``, data docs included. References: one hand-written DuckDB query that computes the
same expectations, and Great Expectations on a pandas frame of the same rows. Loading the frame is measured too,
because an audit of files begins with it.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks import data
from tests.benchmarks.cases import Call, Facts, Row, Scale, Target, Work
from tests.benchmarks.limits import threads

KEY = ("flight_date", "carrier", "flight", "origin")
FILLED = ("dest", "sched_dep_hour", "cancelled", "diverted", "disrupted")
BETWEEN = {
    "flight": (1, 10_000_000), "sched_dep_hour": (0, 23), "dep_time": (1, 2400), "arr_time": (1, 2400),
    "dep_delay": (-60, 2000), "arr_delay": (-120, 2000), "air_time": (10, 800),
}  # fmt: skip
AIRPORTS = ["EWR", "JFK", "LGA"]
LENGTHS = {"carrier": (2, 2), "origin": (3, 3), "dest": (3, 3), "tailnum": (5, 6)}
MEANS = {"dep_delay": (-10, 60)}


def rows(scale: Scale) -> list[Row]:
    """List one row a table size."""
    sizes = {"tiny": [15_000], "small": [336_776]}.get(scale, [336_776, 5_051_640])
    return [_row(size) for size in sizes]


def _row(size: int) -> Row:
    given = {"outcomes": str(data.made("outcomes", size))}
    hand, pandas = "one hand-written query", "GX on pandas"
    return Row(
        f"{size:,} rows",
        size,
        "rows",
        Call("audit", "ours", given),
        (Call(hand, "by_hand", given), Call(pandas, "on_pandas", given)),
        (Target("seconds", 1.5, hand), Target("seconds", 20, pandas, faster=True)),
        series="audit",
    )


def expectations() -> list[tuple[str, dict[str, Any]]]:
    """List nineteen expectations; an audit adds seven: filled key columns, a unique key, two on partitions."""
    listed: list[tuple[str, dict[str, Any]]] = []
    listed += [("expect_column_values_to_not_be_null", {"column": name}) for name in FILLED]
    listed += [
        ("expect_column_values_to_be_between", {"column": name, "min_value": low, "max_value": high, "mostly": 0.99})
        for name, (low, high) in BETWEEN.items()
    ]
    listed += [
        ("expect_column_value_lengths_to_be_between", {"column": name, "min_value": low, "max_value": high})
        for name, (low, high) in LENGTHS.items()
    ]
    listed += [
        ("expect_column_mean_to_be_between", {"column": name, "min_value": low, "max_value": high})
        for name, (low, high) in MEANS.items()
    ]
    listed += [("expect_column_values_to_be_in_set", {"column": "origin", "value_set": AIRPORTS})]
    listed += [("expect_column_values_to_not_be_null", {"column": "tailnum", "mostly": 0.9})]
    return listed


def files(outcomes: str) -> list[str]:
    """List the Parquet files of the partitions."""
    return sorted(str(path) for path in Path(outcomes).glob("ds=*/*.parquet"))


def _keys(staged: list[str]) -> list[str]:
    return sorted({Path(path).parent.name.removeprefix("ds=") for path in staged})


def ours(outcomes: str) -> Work:
    """Set up the audit of this project."""
    from include.core.repository import REPOSITORY
    from include.quality.audit import AuditPlace, audit
    from include.quality.suites import load_suite
    from include.spec.suite import Suite

    columns = load_suite(REPOSITORY / "include/use_cases/flights/suites/outcomes.yaml").columns
    rules = [{"type": kind, "kwargs": kwargs, "severity": "critical", "why": "measured"}
             for kind, kwargs in expectations()]  # fmt: skip
    suite = Suite.model_validate({"table": "outcomes", "key": list(KEY), "columns": columns, "expectations": rules})
    staged = files(outcomes)
    keys = _keys(staged)
    reports = tempfile.TemporaryDirectory()

    def run() -> Facts:
        place = AuditPlace("bench", "run", reports.name, threads(), "4GB")
        report = audit(suite, staged, keys, place)
        failed = sorted(f"{one.type} {one.subject}" for one in report.failures)
        return {"expectations": report.checked - len(columns), "answer": failed}

    # run once: Great Expectations imports much of itself at its first use
    run()
    return Work(run)


def by_hand(outcomes: str) -> Work:
    """Set up one query that computes the same expectations."""
    import duckdb
    import pyarrow as pa

    from include.core import sql

    staged = files(outcomes)
    keys = pa.table({"ds": pa.array(_keys(staged))})
    asked = [f'count(*) FILTER ("{name}" IS NULL)' for name in (*KEY, *FILLED, "tailnum")]
    asked += [f'count(*) FILTER ("{name}" NOT BETWEEN {low} AND {high})' for name, (low, high) in BETWEEN.items()]
    for name, (low, high) in LENGTHS.items():
        asked.append(f'count(*) FILTER (length("{name}") NOT BETWEEN {low} AND {high})')
    asked += [f'avg("{name}")' for name in MEANS]
    asked += ["count(*) FILTER (origin NOT IN ('EWR', 'JFK', 'LGA'))"]
    asked += ["count(*) FILTER (ds IS NULL OR ds NOT IN (SELECT ds FROM keys))"]
    listed = ", ".join(KEY)
    repeated = f"SELECT count(*) FROM (SELECT {listed} FROM staged GROUP BY {listed} HAVING count(*) > 1)"
    empty = "SELECT count(*) FROM keys WHERE ds NOT IN (SELECT DISTINCT ds FROM staged)"

    def run() -> Facts:
        with duckdb.connect(config={"threads": threads(), "memory_limit": "4GB"}) as con:
            con.register("keys", keys)
            con.execute(f"CREATE TEMP VIEW staged AS FROM {sql.partitioned_parquet(staged)}")
            found = con.execute(f"SELECT {', '.join(asked)}, ({repeated}), ({empty}) FROM staged").fetchall()[0]
        return {"expectations": len(found)}

    return Work(run)


def on_pandas(outcomes: str) -> Work:
    """Set up Great Expectations on a pandas frame."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read at import
    import great_expectations as gx
    import pyarrow as pa
    import pyarrow.dataset as ds
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    staged = files(outcomes)
    partitioning = ds.partitioning(pa.schema([pa.field("ds", pa.string())]), flavor="hive")
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("frames").add_dataframe_asset("outcomes")
    batch = asset.add_batch_definition_whole_dataframe("all")
    suite = gx.ExpectationSuite("outcomes")
    for kind, kwargs in [*expectations(), *_added(_keys(staged))]:
        suite.add_expectation_configuration(ExpectationConfiguration(type=kind, kwargs=kwargs))

    # validate a few rows first: the measured run may be the only one, and should not include first-use costs
    few = ds.dataset(staged, format="parquet", partitioning=partitioning).head(1_000)
    batch.get_batch({"dataframe": few.to_pandas()}).validate(suite)

    def run() -> Facts:
        rows = ds.dataset(staged, format="parquet", partitioning=partitioning).to_table(use_threads=threads() > 1)
        result = batch.get_batch({"dataframe": rows.to_pandas()}).validate(suite)
        failed = [one.expectation_config for one in result.results if not one.success]
        named = sorted(f"{config.type} {config.kwargs['column']}" for config in failed if config)
        return {"expectations": len(result.results), "answer": named}

    return Work(run)


def _added(keys: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """List the expectations that every audit adds."""
    return [
        *(("expect_column_values_to_not_be_null", {"column": name}) for name in KEY),
        ("expect_compound_columns_to_be_unique", {"column_list": list(KEY)}),
        ("expect_column_values_to_be_in_set", {"column": "ds", "value_set": keys}),
        ("expect_column_distinct_values_to_contain_set", {"column": "ds", "value_set": keys}),
    ]
