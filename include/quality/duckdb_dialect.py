"""A DuckDB dialect of SQLAlchemy over which Great Expectations runs at the speed of SQL.

Great Expectations (1.24) does not know DuckDB. Three things keep it from working, each mended here:

* It fetches rows after it has handed the connection back, when DuckDB has already dropped the open
  result. Results are therefore buffered as soon as a statement has run; an audit's results are a few
  aggregates and a handful of example rows.
* It writes a regular expression only for dialects it knows. It is told "PostgreSQL", which makes it
  write ``column ~ pattern``. In PostgreSQL that searches anywhere in the text but in DuckDB it must
  match all of it, so the compiler turns it into ``regexp_matches``, which searches.
* It disposes of its engine, and the connection with it, whenever an execution engine is collected.
  The connection belongs to the caller, so closing it is left to the caller.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import duckdb
import sqlalchemy as sa
from duckdb_sqlalchemy import ConnectionWrapper, Dialect, DuckDBCompiler, DuckDBExecutionContext
from sqlalchemy.dialects import postgresql, registry
from sqlalchemy.engine.cursor import FullyBufferedCursorFetchStrategy
from sqlalchemy.pool import StaticPool

registry.register("duckdb.audit", __name__, "AuditDialect")


class _BufferedContext(DuckDBExecutionContext):
    def post_exec(self) -> None:
        super().post_exec()  # type: ignore[no-untyped-call]
        if self.cursor is not None and self.cursor.description is not None:
            self.cursor_fetch_strategy = FullyBufferedCursorFetchStrategy(
                self.cursor, initial_buffer=self.cursor.fetchall()
            )


class _SearchingCompiler(DuckDBCompiler):
    def visit_custom_op_binary(self, element: Any, operator: Any, **kw: Any) -> Any:
        if operator.opstring not in ("~", "!~"):
            return super().visit_custom_op_binary(element, operator, **kw)  # type: ignore[no-untyped-call]
        text, pattern = self.process(element.left, **kw), self.process(element.right, **kw)
        return f"{'' if operator.opstring == '~' else 'NOT '}regexp_matches({text}, {pattern})"


class AuditDialect(Dialect):
    """DuckDB with buffered results and regular expressions that search."""

    execution_ctx_cls = _BufferedContext
    statement_compiler = _SearchingCompiler
    supports_statement_cache = True


class _Borrowed(ConnectionWrapper):
    def close(self) -> None:
        """Leave the connection open: whoever opened it closes it."""


# The module in which Great Expectations looks for the class that decides which operators it writes.
OPERATORS = ModuleType("duckdb_operators")
OPERATORS.__dict__.update(dialect=postgresql.dialect, name="duckdb")


def engine(connection: duckdb.DuckDBPyConnection) -> sa.Engine:
    """An SQLAlchemy engine over an open DuckDB connection, which stays the caller's to close."""
    return sa.create_engine("duckdb+audit://", creator=lambda: _Borrowed(connection), poolclass=StaticPool)
