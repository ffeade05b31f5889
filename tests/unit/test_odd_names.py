"""Names of columns and tables that the lifecycle uses itself, or that SQL must quote."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from include.core.errors import SpecError
from include.core.partitions import Span
from include.lake import file_statistics
from include.lake.records import Attempt
from include.steps import ingest, publishing
from tests.unit.chain import use_case
from tests.unit.small_source import DAY, small_workspace

BY = Attempt("flights", "flights_ingest", "r1")
NAMES = ["t", "kept", "rule", "row", "table", "reason", "delivered", "part", 'a"b', "it's", "group", "file name"]


def test_columns_may_have_any_name(tmp_path: Path) -> None:
    """C34: a column that is called like an alias, or that has a quote, is a column."""
    quoted = ['"' + name.replace('"', '""') + '"' for name in NAMES]
    values = ", ".join(f"id * 10 AS {name}" for name in quoted)
    query = f"SELECT '{DAY}' AS ds, id, {values} FROM (VALUES (1), (2)) AS v (id)"
    columns = {"ds": "VARCHAR", "id": "INTEGER", **dict.fromkeys(NAMES, "INTEGER")}
    workspace = small_workspace(tmp_path, query, "t = 20", columns)
    stages = ingest.land(workspace, Span.one(DAY), BY)
    publishing.audit(workspace, stages, BY)
    publishing.publish(workspace, stages, BY)
    with workspace.connect() as con:
        workspace.attach(con, 'an "odd" view', "flights/raw/tiny", [DAY])
        kept = con.sql(f'SELECT {", ".join(quoted)} FROM "an ""odd"" view"').fetchall()
    assert kept == [(10,) * len(NAMES)]
    rejected = workspace.lake.dataset("flights/quarantine/rows", [DAY]).to_table()["row"].to_pylist()
    assert [json.loads(row) for row in rejected] == [{"ds": DAY, "id": 2, **dict.fromkeys(NAMES, 20)}]


def test_statistics_know_a_column_from_their_own() -> None:
    """C34: an instant in a column ``part`` has bounds like any other."""
    instants = pa.array([0, 1_000], pa.timestamp("us", "UTC"))
    parts = file_statistics.of_parts(pa.table({"part": instants, "part_": instants}), [1, 1])
    assert [found["minValues"]["part"][-5:] for found in parts] == [".000Z", ".001Z"]


@pytest.mark.parametrize("name", ["partitions", "staged"])
def test_a_raw_table_cannot_hide_a_table_of_the_lifecycle(name: str) -> None:
    """C34: feature SQL reads ``partitions``, and a raw table of that name would replace it."""
    with pytest.raises(SpecError, match=f"raw: {name}: SQL and suites know another table by that name"):
        use_case("named", raw={name: {"key": ["id"]}})
