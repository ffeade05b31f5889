"""A DuckDB dialect of SQLAlchemy, so that Great Expectations evaluates expectations by SQL.

Great Expectations (1.24) does not know DuckDB. Three faults would keep it from working; this module corrects them:

* It fetches rows after it has returned the connection, when DuckDB has already dropped the open
  result. The dialect therefore buffers results as soon as a statement has run; the results of an audit are
  a few aggregates and a few example rows.
* It writes regular expressions only for dialects that it knows. We call this one PostgreSQL, so that it
  writes ``column ~ pattern``. In PostgreSQL this operator searches anywhere in the text, in DuckDB it must
  match all of the text; so the compiler writes ``regexp_matches``, which searches.
* It disposes of its engine, and of the connection too, when Python frees an execution engine. The
  connection belongs to the caller, so only the caller closes it.
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
        """Leave the connection open: the caller closes it."""


# The module in which Great Expectations looks for the class that decides which operators it writes.
OPERATORS = ModuleType("duckdb_operators")
OPERATORS.__dict__.update(dialect=postgresql.dialect, name="duckdb")


def engine(connection: duckdb.DuckDBPyConnection) -> sa.Engine:
    """Return an SQLAlchemy engine over an open DuckDB connection, which the caller closes."""
    return sa.create_engine("duckdb+audit://", creator=lambda: _Borrowed(connection), poolclass=StaticPool)
