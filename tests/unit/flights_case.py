"""Real flights for tests: one unpacked source for the whole test run, and raw tables of a few weeks."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import duckdb

from include.spec.loading import load_use_case
from include.use_cases.flights.source import FlightsSource

FLIGHTS = load_use_case("flights")
TIME_ZONE = FLIGHTS.time_zone


@functools.cache
def source_cache() -> Path:
    folder = tempfile.mkdtemp(prefix="flights-source-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def source(replay_weeks: int | None = None) -> FlightsSource:
    return FlightsSource(source_cache(), replay_weeks=replay_weeks)


def connection(threads: int = 1) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect(config={"threads": threads})
    con.execute("SET TimeZone = 'UTC'")
    return con


def land(con: duckdb.DuckDBPyConnection, adapter: FlightsSource, first: str, last: str) -> None:
    """Make a table of every raw table's partitions ``first``..``last``."""
    for table, query in adapter.deliver(con, first, last).items():
        con.execute(f"CREATE OR REPLACE TABLE {table} AS {query}").fetchall()
