"""The generators of the data sets; each function fills one folder.

Each runs in a process of its own and imports only the libraries that it needs, because importing Feast alone takes
longer than most of the generators.
"""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import Schema, convert_to_deltalake, write_deltalake

from include.core import partitions
from include.use_cases.flights.source import FIRST, LAST, FlightsSource
from tests.benchmarks.data import CACHE, HISTORIES, NUMBERS, TEXTS, made, settings
from tests.benchmarks.limits import threads

if TYPE_CHECKING:
    from include.steps.workspace import Workspace

YEAR = 365
# the lake of the score step: so many days from the first of the year on, the last of them scored
SCORED_DAYS = 40
SCORED_DAY = partitions.shift(FIRST, SCORED_DAYS - 1)
LEARNT_FROM = partitions.shift(SCORED_DAY, -9)
TREES = 47
_ZSTD = "FORMAT parquet, COMPRESSION zstd"


def connection(memory: str = "4GB") -> duckdb.DuckDBPyConnection:
    """Open DuckDB with the settings of every generator."""
    con = duckdb.connect(config={"threads": threads(), "memory_limit": memory})
    con.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = false; SET enable_progress_bar = false")
    return con


def flights(con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Return the queries of the year's real tables, by name."""
    return FlightsSource(CACHE / "source").deliver(con, FIRST, LAST)


def outcomes(folder: Path, rows: int) -> None:
    """Write ``rows`` outcomes in 365 partitions, as staged for an audit; each copy has its own flight numbers."""
    con = connection()
    con.execute(f"CREATE TABLE real AS {flights(con)['outcomes']}")
    copies = -(-rows // con.execute("SELECT count(*) FROM real").fetchall()[0][0])
    con.execute(
        f"COPY (SELECT * REPLACE (flight + 10000 * copy AS flight) FROM real, range({copies}) AS copies (copy) "
        f"ORDER BY copy, known_at LIMIT {rows}) TO '{folder}' ({_ZSTD}, PARTITION_BY (ds))"
    )
    con.execute(f"COPY ({flights(con)['planes']}) TO '{folder / 'planes.parquet'}' (FORMAT parquet)")


def entities(folder: Path, rows: int) -> None:
    """Write the year's scheduled flights as one Parquet file; the scheduled departure is the event timestamp."""
    con = connection()
    con.execute(
        "COPY (SELECT carrier, flight, origin, dest, sched_dep_hour, scheduled_departure AS event_timestamp "
        f"FROM ({flights(con)['schedule']}) ORDER BY hash(carrier, flight, origin, ds) LIMIT {rows}) "
        f"TO '{folder / 'entities.parquet'}' ({_ZSTD})"
    )


def histories(folder: Path, rows: int, late_percent: int) -> None:
    """Write three Delta tables with ``rows`` rows in total: real keys, evenly spaced instants of the year.

    ``late_percent`` of the rows were created two hours after their event, the others at the time of their event.
    """
    con = connection()
    con.execute(f"CREATE TABLE schedule AS {flights(con)['schedule']}")
    for name, (share, keys) in HISTORIES.items():
        listed = ", ".join(keys)
        con.execute(f"CREATE OR REPLACE TABLE entity AS SELECT DISTINCT {listed} FROM schedule ORDER BY ALL")
        count = con.execute("SELECT count(*) FROM entity").fetchall()[0][0]
        ticks = max(round(rows * share / count), 12)
        # sorting a month uses one thread: sort several months at once to keep every core busy
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
    con.execute("SET TimeZone = 'UTC'")  # a cursor does not inherit this setting
    pattern = f"FILENAME_PATTERN 'part-{month}_{{uuid}}'"
    con.execute(f"COPY ({query}) TO '{table}' ({_ZSTD}, PARTITION_BY (ds), APPEND, {pattern})")


def _month(keys: str, ticks: int, month: int, late_percent: int) -> str:
    """Return the query of a twelfth of the history; values depend only on key and tick."""
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
    """Land the first ``days`` partitions of the flights use case and publish their features."""
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
    """Write one snapshot of ``rows`` flight numbers with five almost unique features, as a Delta table."""
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
    """Write 30 columns for drift, 24 numbers of three shapes and 6 categories, as one Parquet file.

    With ``shifted`` above 0 the first 20 columns are planted cases, each moved by another amount: half of them below
    the threshold and half above.
    """
    draw = np.random.default_rng(1 + shifted)
    schema = pa.schema([*((name, pa.float64()) for name in NUMBERS), *((name, pa.string()) for name in TEXTS)])
    sizes = [min(1_000_000, rows - begin) for begin in range(0, rows, 1_000_000)]
    with pq.ParquetWriter(folder / "rows.parquet", schema) as out, ThreadPoolExecutor(1) as ahead:
        # draw the next part while this one is written
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
            # by 0.02 to 0.28 standard deviations of the reference; Evidently's threshold is 0.1
            values = values + (0.02 + 0.02 * at) * (1.0, 2**0.5, 300 / 12**0.5 / 7)[shape]
        columns[name] = pa.array(np.where(draw.random(rows) < 0.02, np.nan, values) if at % 5 == 0 else values)
    for at, name in enumerate(TEXTS):
        tilt = 0.06 * (at + 1) if planted else 0.0
        weights = np.arange(1, 9, dtype=float) ** (-1.0 - 3 * tilt)
        codes = draw.choice(8, rows, p=weights / weights.sum()).astype(np.int8)
        # cast from a dictionary: takes a tenth of the time of building an array of strings
        columns[name] = pa.DictionaryArray.from_arrays(codes, list("ABCDEFGH")).cast(pa.string())
    return pa.table(columns)


def scored_day(folder: Path, rows: int) -> None:
    """Write a lake whose last day has a schedule of ``rows`` flights and published features, and a model.

    The schedule consists of copies of the day's real flights with other dates, so that all of them join features and
    the features stay small. ``real.parquet`` holds the real flights of the day with their features, in key order.
    """
    from include.core.partitions import Span
    from include.spec.loading import load_use_case
    from include.steps import features
    from include.steps.score import predicting
    from include.steps.workspace import Workspace

    # the data set of the benchmark ``transform`` serves every size
    shutil.copytree(made("lake", SCORED_DAYS), folder, dirs_exist_ok=True)
    workspace = Workspace(settings(folder), load_use_case("flights"))
    features.apply_definitions(workspace)
    sample = predicting.entity_rows(workspace, Span(first=LEARNT_FROM, last=SCORED_DAY))
    for name in ("registry.db", "online.db"):
        # they hold addresses in this unfinished folder
        (folder / name).unlink(missing_ok=True)
    real = sample.filter(pc.equal(sample["ds"], SCORED_DAY))
    pq.write_table(real, folder / "real.parquet")
    _copy_schedule(workspace, rows, real.num_rows)
    _fit(sample, folder / "model")


def _copy_schedule(workspace: Workspace, rows: int, real: int) -> None:
    from include.lake.records import Attempt

    case, attempt = workspace.case, Attempt("flights", "benchmark", "copies")
    table, order = case.table("raw", "schedule"), case.raw["schedule"].key
    with workspace.connect() as con:
        workspace.attach(con, "schedule", table, [SCORED_DAY])
        copied = (
            "SELECT * REPLACE (flight_date + copy::INTEGER AS flight_date) FROM schedule, "
            f"range({-(-rows // real)}) AS copies (copy) ORDER BY {', '.join(order)} LIMIT {rows}"
        )
        query = f"SELECT * EXCLUDE (copy) FROM ({copied})"
        stage = workspace.stage(con, table, query, [SCORED_DAY], attempt, order)
    workspace.lake.publish(stage, attempt)
    workspace.lake.discard(stage)


def _fit(sample: pa.Table, folder: Path) -> None:
    """Fit a model of 47 trees on ``sample`` with invented labels, and save it as a registered one is."""
    import lightgbm as lgb

    from include.training.data import Encoding, Feature
    from include.training.families.boosting import Trees
    from include.training.model import LoadedModel, Manifest, TrainingSetRecord, save_model

    texts = {name: tuple(sorted(set(sample[name].to_pylist()))) for name in ("carrier", "origin", "dest")}
    names = [name for name in sample.column_names if name not in ("ds", "event_timestamp", "flight_date", "flight")]
    encoding = Encoding(tuple(Feature(name=name, categories=texts.get(name)) for name in names))
    chance = 0.05 + 0.02 * sample["sched_dep_hour"].to_numpy()
    label = (np.random.default_rng(0).random(len(chance)) < chance).astype(float)
    given = {"objective": "binary", "verbosity": -1, "num_threads": threads(), "num_leaves": 31, "seed": 0,
             "deterministic": True, "force_row_wise": True}  # fmt: skip
    matrix = lgb.Dataset(encoding.encode(sample), label, categorical_feature=list(encoding.categorical))
    booster = lgb.train(given, matrix, TREES)
    manifest = Manifest(
        use_case="bench", task="binary", label="disrupted", family="lightgbm", params={}, features=encoding.features,
        calibration="none", training_set=TrainingSetRecord(fingerprint="", uri="", version=None, windows={}),
        trained_through="2013-01-01", seed=0, threads=threads(), study="bench", trial=0, metric="log_loss",
        search_value=0.0, fit_value=0.0, libraries={}, settings={},
    )  # fmt: skip
    save_model(LoadedModel(manifest, Trees(booster), None), folder)
