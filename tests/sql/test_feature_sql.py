"""Tests of the feature SQL, rows in and rows out: ``test_<view>.yaml`` holds the cases of one view.

A case gives ``days`` (first and last day of the span), ``tables`` (rows of raw tables; a missing column takes the value
of the table's ``defaults``, or null) and ``expect``: all expected rows with the columns of interest, ordered by these
columns. Fractions are rounded to four digits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from include.core import yaml_file
from include.core.partitions import Span
from include.feature_store import feature_sql
from tests.unit.flights_case import FLIGHTS, connection, source

HERE = Path(__file__).parent


def view_of(path: Path) -> str:
    return path.stem.removeprefix("test_")


def cases() -> list[Any]:
    return [
        pytest.param(view_of(path), case, id=f"{view_of(path)}: {case['case']}")
        for path in sorted(HERE.glob("test_*.yaml"))
        for case in yaml_file.parse(path.read_text(encoding="utf-8"))
    ]


def empty_tables(con: duckdb.DuckDBPyConnection) -> None:
    for table, query in source().deliver(con, "2013-01-02", "2013-01-02").items():
        con.execute(f"CREATE TABLE {table} AS FROM ({query}) LIMIT 0").fetchall()


def insert(con: duckdb.DuckDBPyConnection, table: str, row: dict[str, Any]) -> None:
    marks = ", ".join("?" for _ in row)
    con.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values())).fetchall()


def rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


@pytest.mark.parametrize(("view", "case"), cases())
def test_rows_out(view: str, case: dict[str, Any]) -> None:
    with connection() as con:
        empty_tables(con)
        for table, rows in case["tables"].items():
            for row in rows:
                insert(con, table, case.get("defaults", {}).get(table, {}) | row)
        first, last = case["days"]
        query = feature_sql.compute(con, FLIGHTS, Span(first=first, last=last))[view]
        named = list(case["expect"][0])
        order = ", ".join(str(n + 1) for n in range(len(named)))
        found = con.execute(f"SELECT {', '.join(named)} FROM ({query}) ORDER BY {order}").fetchall()
    rounded = [tuple(round(value, 4) if isinstance(value, float) else value for value in row) for row in found]
    assert [dict(zip(named, row, strict=True)) for row in rounded] == case["expect"]


def test_each_feature_sql_has_cases() -> None:
    assert {view_of(path) for path in HERE.glob("test_*.yaml")} == set(feature_sql.views(FLIGHTS))
