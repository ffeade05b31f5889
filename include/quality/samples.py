"""Which rows broke an expectation, and in which partitions; asked only after it failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

from include.quality import expectations
from include.spec.suite import Suite


@dataclass(frozen=True)
class Evidence:
    """Queries over the staged rows of one audit."""

    session: duckdb.DuckDBPyConnection
    suite: Suite

    def examples(
        self, config: ExpectationConfiguration, found: Mapping[str, Any], limit: int
    ) -> tuple[dict[str, str], ...]:
        """A few of the broken rows, values as text."""
        if config.type != expectations.COUNTED_RULE:
            return tuple(_as_text(row) for row in found.get("partial_unexpected_index_list") or [])
        cursor = self.session.execute(f"SELECT * FROM ({expectations.rows_query(config.kwargs)}) LIMIT {limit}")
        names = [column[0] for column in cursor.description or []]
        return tuple(_as_text(dict(zip(names, row, strict=True))) for row in cursor.fetchall())

    def partitions(self, config: ExpectationConfiguration, found: Mapping[str, Any]) -> dict[str, int]:
        """Broken rows by partition.

        Empty for expectations about one value of the whole table, which would have to be evaluated
        again for each partition; for SQL rules whose rows carry no ``ds``; and where the query that
        the library gives for the broken rows is one that cannot run.
        """
        if config.type == expectations.COUNTED_RULE:
            query = expectations.rows_query(config.kwargs)
        else:
            query = str(found.get("unexpected_index_query") or "").rstrip("; \n")
        if not query:
            return {}
        try:
            rows = self.session.execute(
                f"SELECT ds::VARCHAR, count(*) FROM ({query}) WHERE ds IS NOT NULL GROUP BY 1 ORDER BY 1"
            ).fetchall()
        except duckdb.Error:  # the finding stands; only its place stays unknown
            return {}
        return dict(rows)


def _as_text(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: "" if value is None else str(value) for name, value in row.items()}
