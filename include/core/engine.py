"""The SQL engine: DuckDB connections with limited threads and memory, and a spill folder that is removed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from tempfile import TemporaryDirectory

import duckdb

_Settings = tuple[int, str, str | None, bool]


@contextmanager
def engine(
    threads: int, memory_limit: str, temp_directory: str | None = None, *, ordered: bool = True
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a DuckDB connection in UTC and close it at the end of the block.

    Args:
        threads: threads of a query.
        memory_limit: memory that DuckDB may hold before it spills, such as ``2GB``.
        temp_directory: folder to spill to; none for the system's. Each connection takes a new folder
            inside it, because DuckDB's spill files are named alike in every process.
        ordered: whether rows keep the order in which they were read where a query asks for none.
    """
    settings = (threads, memory_limit, temp_directory, ordered)
    kept = _kept.get()
    if kept is None:
        with _connected(*settings) as connection:
            yield connection
    else:
        yield kept.connection(settings)


@contextmanager
def kept_open() -> Iterator[None]:
    """Let :func:`engine` reuse its connections within the block: to open one takes longer than a small query.

    Callers must drop every table and view that they create.
    """
    with ExitStack() as opened:
        token = _kept.set(_Kept(opened))
        try:
            yield
        finally:
            _kept.reset(token)


class _Kept:
    """Connections by their settings, closed with ``opened``."""

    def __init__(self, opened: ExitStack) -> None:
        self._opened = opened
        self._found: dict[_Settings, duckdb.DuckDBPyConnection] = {}

    def connection(self, settings: _Settings) -> duckdb.DuckDBPyConnection:
        if settings not in self._found:
            self._found[settings] = self._opened.enter_context(_connected(*settings))
        return self._found[settings]


_kept: ContextVar[_Kept | None] = ContextVar("kept", default=None)


@contextmanager
def _connected(
    threads: int, memory_limit: str, temp_directory: str | None, ordered: bool
) -> Iterator[duckdb.DuckDBPyConnection]:
    # DuckDB would otherwise spill into a folder of the working directory
    with TemporaryDirectory(prefix="duckdb-", dir=temp_directory) as spill:
        connection = duckdb.connect(
            config={
                "threads": threads,
                "memory_limit": memory_limit,
                "temp_directory": spill,
                "preserve_insertion_order": ordered,
            }
        )
        try:
            connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false").fetchall()
            # several queries read the same hundreds of small files, and reading their footers takes most of the time
            connection.execute("SET parquet_metadata_cache = true").fetchall()
            yield connection
        finally:
            connection.close()
