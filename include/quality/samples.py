"""Rows that broke an expectation, and their partitions; queried only after the expectation failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

from include.quality import expectations, gx_private
from include.spec.suite import Suite


@dataclass(frozen=True)
class Samples:
    """Queries over the staged rows of one audit."""

    session: duckdb.DuckDBPyConnection
    suite: Suite

    def examples(
        self, config: ExpectationConfiguration, found: Mapping[str, Any], limit: int
    ) -> tuple[dict[str, str], ...]:
        """Return a few of the broken rows, values as text."""
        if config.type != gx_private.COUNTED_RULE:
            return tuple(_as_text(row) for row in found.get("partial_unexpected_index_list") or [])
        cursor = self.session.execute(f"SELECT * FROM ({expectations.rows_query(config.kwargs)}) LIMIT {limit}")
        names = [column[0] for column in cursor.description or []]
        return tuple(_as_text(dict(zip(names, row, strict=True))) for row in cursor.fetchall())

    def partitions(self, config: ExpectationConfiguration, found: Mapping[str, Any]) -> dict[str, int]:
        """Count the broken rows by partition.

        The result is empty for expectations about one value of the whole table, which would have to be evaluated
        again for each partition; for SQL rules whose rows have no ``ds``; and where the library's query for the
        broken rows cannot run.
        """
        if config.type == gx_private.COUNTED_RULE:
            query = expectations.rows_query(config.kwargs)
        else:
            query = str(found.get("unexpected_index_query") or "").rstrip("; \n")
        if not query:
            return {}
        try:
            rows = self.session.execute(
                f"SELECT ds::VARCHAR, count(*) FROM ({query}) WHERE ds IS NOT NULL GROUP BY 1 ORDER BY 1"
            ).fetchall()
        except duckdb.Error:  # the finding stands; only its partitions stay unknown
            return {}
        return dict(rows)


def _as_text(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: "" if value is None else str(value) for name, value in row.items()}
