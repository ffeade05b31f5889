"""The names of folders above the data are no data."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.core import sql
from include.core.partitions import Span
from include.lake.records import Attempt
from include.steps import ingest, publishing
from include.use_cases.flights import upstream
from tests.unit.small_source import DAY, NEXT, small_workspace

BY = Attempt("flights", "flights_ingest", "r1")
QUERY = f"SELECT * FROM (VALUES ('{DAY}', 1, 'JFK'), ('{NEXT}', 2, 'EWR')) AS t (ds, id, origin)"
COLUMNS = {"ds": "VARCHAR", "id": "INTEGER", "origin": "VARCHAR"}


@pytest.mark.parametrize("above", ["origin=east", "ds=2020", "id=x/ds=2013-11-03"])
def test_folders_above_the_lake_do_not_leak_into_the_rows(tmp_path: Path, above: str) -> None:
    """C01: a view, a stage and an audit read the file's own values."""
    workspace = small_workspace(tmp_path / above, QUERY, columns=COLUMNS)
    stages = ingest.land(workspace, Span(first=DAY, last=NEXT), BY)
    publishing.audit(workspace, stages, BY)
    publishing.publish(workspace, stages, BY)
    with workspace.connect() as con:
        workspace.attach(con, "tiny", "flights/raw/tiny", [DAY, NEXT])
        rows = con.sql("SELECT ds, id, origin FROM tiny ORDER BY id").fetchall()
    assert rows == [(DAY, 1, "JFK"), (NEXT, 2, "EWR")]


def test_a_view_of_one_partition_opens_only_its_files(tmp_path: Path) -> None:
    """C01: the partition comes from the path without a scan of the others."""
    files = [tmp_path / f"ds={key}" / "part.parquet" for key in (DAY, NEXT)]
    for file in files:
        file.parent.mkdir()
        pq.write_table(pa.table({"id": [1], "filename": ["mine"]}), file)
    files[1].write_bytes(b"no Parquet")
    with duckdb.connect() as con:
        rows = con.sql(f"FROM {sql.partitioned_parquet(files)} WHERE ds = '{DAY}'").fetchall()
    assert rows == [(1, "mine", DAY)]


def test_folders_above_the_source_cache_do_not_leak_into_the_rows(tmp_path: Path) -> None:
    """C01: files of the source are read as they are too."""
    folder = tmp_path / "carrier=east"
    folder.mkdir()
    (folder / "airlines.csv").write_text("carrier,name\nUA,United\n", encoding="utf-8")
    with duckdb.connect() as con:
        query = upstream._read(folder / "airlines.csv", upstream.FILES["airlines"])
        assert con.sql(query).fetchall() == [("UA", "United")]
