"""How each data set is made; every function fills a folder.

Each runs in a process of its own, which imports what it needs: Feast alone takes longer than most of them.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import Schema, convert_to_deltalake, write_deltalake

from include.use_cases.flights.source import FIRST, LAST, FlightsSource
from tests.benchmarks.data import CACHE, HISTORIES, NUMBERS, TEXTS, settings
from tests.benchmarks.limits import threads

YEAR = 365
_ZSTD = "FORMAT parquet, COMPRESSION zstd"


def connection(memory: str = "4GB") -> duckdb.DuckDBPyConnection:
    """DuckDB as every generator uses it."""
    con = duckdb.connect(config={"threads": threads(), "memory_limit": memory})
    con.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = false; SET enable_progress_bar = false")
    return con


def flights(con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """The queries of the year's real tables, by name."""
    return FlightsSource(CACHE / "source").deliver(con, FIRST, LAST)


def outcomes(folder: Path, rows: int) -> None:
    """``rows`` outcomes in 365 partitions, as staged for an audit: copies have flight numbers of their own."""
    con = connection()
    con.execute(f"CREATE TABLE real AS {flights(con)['outcomes']}")
    copies = -(-rows // con.execute("SELECT count(*) FROM real").fetchall()[0][0])
    con.execute(
        f"COPY (SELECT * REPLACE (flight + 10000 * copy AS flight) FROM real, range({copies}) AS copies (copy) "
        f"ORDER BY copy, known_at LIMIT {rows}) TO '{folder}' ({_ZSTD}, PARTITION_BY (ds))"
    )
    con.execute(f"COPY ({flights(con)['planes']}) TO '{folder / 'planes.parquet'}' (FORMAT parquet)")


def entities(folder: Path, rows: int) -> None:
    """The year's scheduled flights, with the scheduled departure as the instant, as one Parquet file."""
    con = connection()
    con.execute(
        "COPY (SELECT carrier, flight, origin, dest, sched_dep_hour, scheduled_departure AS event_timestamp "
        f"FROM ({flights(con)['schedule']}) ORDER BY hash(carrier, flight, origin, ds) LIMIT {rows}) "
        f"TO '{folder / 'entities.parquet'}' ({_ZSTD})"
    )


def histories(folder: Path, rows: int, late_percent: int) -> None:
    """Three Delta tables with ``rows`` rows in all: real keys, evenly spaced instants of the year.

    ``late_percent`` of the rows were created two hours after their event, the others with it.
    """
    con = connection()
    con.execute(f"CREATE TABLE schedule AS {flights(con)['schedule']}")
    for name, (share, keys) in HISTORIES.items():
        listed = ", ".join(keys)
        con.execute(f"CREATE OR REPLACE TABLE entity AS SELECT DISTINCT {listed} FROM schedule ORDER BY ALL")
        count = con.execute("SELECT count(*) FROM entity").fetchall()[0][0]
        ticks = max(round(rows * share / count), 12)
        # a month is sorted in one thread: several at once keep every core busy
        with ThreadPoolExecutor(threads()) as pool:
            months = [
                pool.submit(_append, con.cursor(), _month(listed, ticks, month, late_percent), folder / name, month)
                for month in range(12)
            ]
            for month in months:
                month.result()
        schema = Schema.from_arrow(pa.schema([pa.field("ds", pa.string())]))
        convert_to_deltalake(folder / name, partition_by=schema, partition_strategy="hive")


def _append(con: duckdb.DuckDBPyConnection, query: str, table: Path, month: int) -> None:
    con.execute("SET TimeZone = 'UTC'")  # a cursor has settings of its own
    pattern = f"FILENAME_PATTERN 'part-{month}_{{uuid}}'"
    con.execute(f"COPY ({query}) TO '{table}' ({_ZSTD}, PARTITION_BY (ds), APPEND, {pattern})")


def _month(keys: str, ticks: int, month: int, late_percent: int) -> str:
    """History rows of a twelfth of the ticks; values follow from key and tick alone."""
    seconds = YEAR * 86_400 / ticks
    return f"""
        SELECT strftime(event_timestamp, '%Y-%m-%d') AS ds, {keys}, event_timestamp,
            event_timestamp + CASE WHEN drawn % 100 < {late_percent} THEN INTERVAL 2 HOUR
                              ELSE INTERVAL 0 HOUR END AS created_timestamp,
            (drawn % 400)::BIGINT AS flights, (drawn % 97)::BIGINT AS disrupted,
            ((drawn % 97) / (1 + drawn % 400))::FLOAT AS rate, ((drawn % 100003) / 521.0)::DOUBLE AS delay
        FROM (SELECT *, hash({keys}, tick) AS drawn,
                TIMESTAMPTZ '2013-01-01 05:00:00+00' + to_microseconds((tick * {seconds * 1e6})::BIGINT)
                    AS event_timestamp
              FROM entity, range({ticks * month // 12}, {ticks * (month + 1) // 12}) AS ticks (tick))
        ORDER BY ds, {keys}, event_timestamp"""


def lake(folder: Path, days: int) -> None:
    """The first ``days`` partitions of the flights use case, landed and featurized."""
    from include.core import partitions
    from include.core.partitions import Span
    from include.lake.records import Attempt
    from include.spec.loading import load_use_case
    from include.steps import features, ingest
    from include.steps.workspace import Workspace

    workspace = Workspace(settings(folder), load_use_case("flights"))
    span = Span(first=FIRST, last=partitions.shift(FIRST, days - 1))
    attempt = Attempt("flights", "benchmark", "data")
    for stage_of in (ingest.land, features.stage):
        for path in stage_of(workspace, span, attempt).folders.values():
            stage = workspace.lake.open_stage(path)
            workspace.lake.publish(stage, attempt)
            workspace.lake.discard(stage)


def online(folder: Path, rows: int) -> None:
    """One snapshot of ``rows`` flight numbers with five features that hardly repeat, as a Delta table."""
    draw = np.random.default_rng(0)
    instant = pa.array(np.full(rows, 1_383_368_400_000_000), pa.timestamp("us", "UTC"))
    features = {name: pa.array(draw.random(rows, np.float32)) for name in ("rate", "share", "arr_delay", "dep_delay")}
    table = pa.table(
        {
            "carrier": pa.array(np.array(["AA", "B6", "DL", "EV", "UA"])[np.arange(rows) % 5]),
            "flight": pa.array(np.arange(rows) // 5),
            "event_timestamp": instant,
            "created_timestamp": instant,
            "flights": pa.array(draw.integers(0, 400, rows)),
            **features,
        }
    )
    write_deltalake(folder / "table", table)


def watched(folder: Path, rows: int, shifted: int) -> None:
    """30 columns for drift, 24 numbers of three shapes and 6 categories, in one Parquet file.

    With ``shifted`` above 0 the first 20 are planted cases: each moved by another amount around the
    threshold, half of them below and half above it.
    """
    draw = np.random.default_rng(1 + shifted)
    schema = pa.schema([*((name, pa.float64()) for name in NUMBERS), *((name, pa.string()) for name in TEXTS)])
    sizes = [min(1_000_000, rows - begin) for begin in range(0, rows, 1_000_000)]
    with pq.ParquetWriter(folder / "rows.parquet", schema) as out, ThreadPoolExecutor(1) as ahead:
        # a part is drawn while the one before it is written
        drawn = ahead.submit(_watched, draw, sizes[0], shifted > 0)
        for size in (*sizes[1:], 0):
            part = drawn.result()
            drawn = ahead.submit(_watched, draw, size, shifted > 0)
            out.write_table(part.cast(schema))


def _watched(draw: np.random.Generator, rows: int, planted: bool) -> pa.Table:
    columns: dict[str, pa.Array] = {}
    for at, name in enumerate(NUMBERS):
        shape = at % 3
        values = (
            draw.normal(size=rows) if shape == 0
            else draw.gamma(2.0, 1.0, rows) if shape == 1
            else draw.integers(0, 300, rows) / 7.0
        )  # fmt: skip
        if planted and at < 14:
            # in units of the reference's deviation, 0.02 to 0.28; Evidently's threshold is 0.1
            values = values + (0.02 + 0.02 * at) * (1.0, 2**0.5, 300 / 12**0.5 / 7)[shape]
        columns[name] = pa.array(np.where(draw.random(rows) < 0.02, np.nan, values) if at % 5 == 0 else values)
    for at, name in enumerate(TEXTS):
        tilt = 0.06 * (at + 1) if planted else 0.0
        weights = np.arange(1, 9, dtype=float) ** (-1.0 - 3 * tilt)
        codes = draw.choice(8, rows, p=weights / weights.sum()).astype(np.int8)
        # by way of a dictionary: a tenth of the time of an array of texts
        columns[name] = pa.DictionaryArray.from_arrays(codes, list("ABCDEFGH")).cast(pa.string())
    return pa.table(columns)


def scored(folder: Path, rows: int) -> None:
    """Rows to predict: 18 numbers and 3 categories of the real flights, copied, in row groups of 100,000."""
    con = connection()
    con.execute(f"CREATE TABLE real AS SELECT * FROM ({flights(con)['outcomes']})")
    # the types of the real features: counts, and rates in single precision
    numbers = ", ".join(
        f"(sched_dep_hour * {n + 1} + flight % {n + 7} + 0.01 * {n} * day)::{'BIGINT' if n % 3 == 0 else 'FLOAT'} "
        f"AS f{n:02d}"
        for n in range(18)
    )
    copies = -(-rows // con.execute("SELECT count(*) FROM real").fetchall()[0][0])
    con.execute(
        f"COPY (SELECT {numbers}, carrier, origin, dest, disrupted::BIGINT AS disrupted, ds "
        f"FROM (SELECT *, dayofyear(flight_date) + copy AS day FROM real, range({copies}) AS copies (copy)) "
        f"LIMIT {rows}) TO '{folder / 'rows.parquet'}' ({_ZSTD}, ROW_GROUP_SIZE 100000)"
    )
