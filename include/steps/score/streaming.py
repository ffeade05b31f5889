"""Walk the rows of many partitions in chunks that fit into memory, be they several days or a part of one."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

import duckdb
import pyarrow as pa

from include.core import partitions
from include.core.partitions import Span
from include.steps.workspace import WorkspaceReader

ROWS_AT_ONCE = 500_000
"""Rows that are held with their features at once."""

_BATCH_ROWS = 100_000

Query = Callable[[duckdb.DuckDBPyConnection, Span], str]
"""Makes the query of a span's rows, which have a column ``ds``, and lets the connection read its tables."""


def runs(workspace: WorkspaceReader, span: Span, query: Query) -> list[Span]:
    """Cut ``span`` into runs of whole days with at most ``ROWS_AT_ONCE`` rows; a larger day is a run of its own."""
    if span.first == span.last:
        return [span]
    with workspace.connect() as con:
        counted = dict(con.sql(f"SELECT ds, count(*) FROM ({query(con, span)}) GROUP BY ds").fetchall())
    rows = {key: counted.get(key, 0) for key in span.keys}
    return [Span.of(keys) for keys in partitions.chunks(rows, ROWS_AT_ONCE)]


def chunks(workspace: WorkspaceReader, span: Span, query: Query, order: Sequence[str]) -> Iterator[pa.Table]:
    """Yield the rows of ``span`` sorted by ``ds`` and ``order``, at most ``ROWS_AT_ONCE`` in a table.

    Without any rows there is one empty table. The sort spills to disk above the deployment's memory limit.
    """
    with workspace.connect() as con:
        ordered = f"SELECT * FROM ({query(con, span)}) ORDER BY {', '.join(('ds', *order))}"
        batches = con.sql(ordered).to_arrow_reader(_BATCH_ROWS)
        last = yield from _full_chunks(batches, batches.schema)
    # the connection's memory is free again while a caller works on the only chunk
    yield last


def _full_chunks(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Generator[pa.Table, None, pa.Table]:
    """Yield chunks that further rows follow, and return the last one."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        begin = 0
        while begin < batch.num_rows:
            if rows == ROWS_AT_ONCE:
                yield pa.Table.from_batches(held, schema)
                held, rows = [], 0
            piece = batch.slice(begin, ROWS_AT_ONCE - rows)
            held.append(piece)
            rows += piece.num_rows
            begin += piece.num_rows
    return pa.Table.from_batches(held, schema)
