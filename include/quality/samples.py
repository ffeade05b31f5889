"""Rows that broke an expectation, counted by partition; queried only after some were found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb
from great_expectations.core.expectation_validation_result import ExpectationValidationResult

from include.quality import expectations, sql_rules
from include.quality.evaluation import EXAMPLES, query_of
from include.quality.judged import config_of


def by_partition(session: duckdb.DuckDBPyConnection, validation: ExpectationValidationResult) -> dict[str, int] | None:
    """Count the broken rows by partition; ``None`` where it cannot be told.

    That is so for figures of the whole table, for SQL rules whose rows have no ``ds``, and where the library's query
    for the broken rows cannot run.
    """
    query = _query(validation)
    if query is None:
        return None
    try:
        rows = session.execute(
            f"SELECT ds::VARCHAR, count(*) FROM {query} WHERE ds IS NOT NULL GROUP BY 1 ORDER BY 1"
        ).fetchall()
    except duckdb.Error:  # the finding stands; only its partitions stay unknown
        return None
    return dict(rows)


def examples(session: duckdb.DuckDBPyConnection, validation: ExpectationValidationResult) -> tuple[dict[str, str], ...]:
    """Return a few of the broken rows that the relations show, values as text."""
    if config_of(validation).type != expectations.SQL_RULE:
        return tuple(_as_text(row) for row in (validation.result or {}).get("partial_unexpected_index_list") or [])
    cursor = session.execute(f"SELECT * FROM {_query(validation)} LIMIT {EXAMPLES}")
    names = [column[0] for column in cursor.description or []]
    return tuple(_as_text(dict(zip(names, row, strict=True))) for row in cursor.fetchall())


def _query(validation: ExpectationValidationResult) -> str | None:
    config = config_of(validation)
    if config.type == expectations.SQL_RULE:
        return sql_rules.over(query_of(config), expectations.STAGED)
    query = str((validation.result or {}).get("unexpected_index_query") or "").rstrip("; \n")
    return f"({query})" if query else None


def _as_text(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: "" if value is None else str(value) for name, value in row.items()}
