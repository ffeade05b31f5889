"""The check that staged rows have the columns of their suite, made before anything reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import duckdb

from include.core import sql
from include.spec.suite import Suite

FLOATING = ("DOUBLE", "FLOAT")


@dataclass(frozen=True)
class ColumnCheck:
    """One column: the type it should have, the type it has (``None`` when it is not there)."""

    name: str
    expected: str | None
    found: str | None

    @property
    def success(self) -> bool:
        """Tell whether the column is there with the right type."""
        return self.expected == self.found

    @property
    def message(self) -> str:
        """Describe the fault, for a check that failed."""
        if self.found is None:
            return f"column {self.name} is missing; {self.expected} was promised"
        if self.expected is None:
            return f"column {self.name} ({self.found}) is not in the suite, which refuses other columns"
        return f"column {self.name} is {self.found}, not {self.expected}"


def check(connection: duckdb.DuckDBPyConnection, relation: str, suite: Suite) -> list[ColumnCheck]:
    """Compare the columns of ``relation`` (SQL that may stand after FROM) with the suite's.

    Both sides are named as DuckDB names them, so ``INT`` and ``INTEGER`` are the same type.
    """
    found = described(connection, relation)
    casts = ", ".join(f"CAST(NULL AS {kind}) AS {sql.identifier(name)}" for name, kind in suite.columns.items())
    expected = _described(connection, f"SELECT {casts}")
    checks = [ColumnCheck(name, kind, found.get(name)) for name, kind in expected.items()]
    if suite.other_columns == "refused":
        checks += _others(found, expected)
    return checks


def _others(found: dict[str, str], expected: dict[str, str]) -> Iterator[ColumnCheck]:
    for name, kind in found.items():
        if name not in expected:
            yield ColumnCheck(name, None, kind)


def described(connection: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    """Return the type of each column of ``relation``, SQL that may stand after FROM."""
    return _described(connection, f"SELECT * FROM {relation}")


def _described(connection: duckdb.DuckDBPyConnection, query: str) -> dict[str, str]:
    rows = connection.execute(f"DESCRIBE {query}").fetchall()
    # DuckDB shows an Arrow dictionary as ENUM; every reader sees text
    return {name: "VARCHAR" if kind.startswith("ENUM(") else kind for name, kind, *_ in rows}
