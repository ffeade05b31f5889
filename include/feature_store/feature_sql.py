"""Feature SQL: the query of each feature view, of the rows to predict and of the labelled rows, for a span of days.

A use case's ``sql`` folder has ``features/<view>.sql``, one query a feature view, and in ``training/``
the queries ``entities.sql`` (rows to predict) and ``labels.sql`` (their outcomes). A file in
``features/`` whose name begins with ``_`` is an intermediate that views share: it runs once, into a
temporary table of its name.

Queries read the raw tables by name, as views of the connection, and ``partitions``, which has one row
for each day of the span: ``ds`` (the key), ``day`` (DATE), ``clock`` (UTC instant). For each day they use only
raw partitions up to that day, whose rows were known before its clock. So a span of one day and a span of a
year give the same rows, and no row uses later knowledge.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from include.core import partitions
from include.core.errors import SpecError
from include.core.sql import identifier

if TYPE_CHECKING:
    import duckdb

LOOK_BACK = 28
"""Number of raw partitions that the features of a day read: its own and the 27 before it."""

LABEL_DELAY = 2
"""Days until the outcomes of a day are complete but for a few: the last flights of D land during D+1."""


def first_label_day(history_first: str) -> str:
    """Return the first day whose features have a whole look-back."""
    return partitions.shift(history_first, LOOK_BACK)


def last_label_day(as_of: str) -> str:
    """Return the last day whose labels a training set of ``as_of`` may use."""
    return partitions.shift(as_of, -LABEL_DELAY)


def views(sql: Path) -> list[str]:
    """Return the names of the feature views of a use case's ``sql`` folder, sorted.

    Raises:
        SpecError: the folder has none.
    """
    names = sorted(path.stem for path in (sql / "features").glob("*.sql") if path.stem[0] != "_")
    if not names:
        raise SpecError([f"{sql / 'features'} has no feature SQL; write one query a feature view there"])
    return names


def compute(con: duckdb.DuckDBPyConnection, sql: Path, first: str, last: str, time_zone: str) -> dict[str, str]:
    """Return the query of each feature view for the days ``first``..``last``, by view.

    Needs the raw tables as views of ``con``, with the partitions of ``UseCase.lookback`` (more do no harm),
    and ``SET TimeZone = 'UTC'``. Creates ``partitions`` and the intermediates as temporary tables, so the
    queries are valid until the next call on the same connection.

    Rows of a query: one for each entity of each day's schedule, in no particular order. Columns: ``ds``, the
    entity's keys, ``event_timestamp`` and ``created_timestamp`` (both clock(ds)), features.
    """
    asked_partitions(con, first, last, time_zone)
    folder = sql / "features"
    for path in sorted(folder.glob("_*.sql")):
        con.execute(f"CREATE OR REPLACE TEMP TABLE {path.stem} AS {path.read_text(encoding='utf-8')}").fetchall()
    return {view: (folder / f"{view}.sql").read_text(encoding="utf-8") for view in views(sql)}


def scoring_rows(con: duckdb.DuckDBPyConnection, sql: Path, first: str, last: str, time_zone: str) -> str:
    """Return the query of the rows to predict on ``first``..``last``: keys, request columns, event_timestamp.

    Needs ``schedule`` as a view of ``con``; creates ``partitions``, as ``compute`` does.
    """
    asked_partitions(con, first, last, time_zone)
    return (sql / "training" / "entities.sql").read_text(encoding="utf-8")


def training_rows(
    con: duckdb.DuckDBPyConnection, sql: Path, keys: Sequence[str], first: str, as_of: str, time_zone: str
) -> str:
    """Return the query of the labelled rows that a training at the clock of ``as_of`` may learn from.

    Rows: those of ``scoring_rows`` from ``first`` to two days before ``as_of``, with the label and
    ``label_known_at``, joined by ``keys``, without rows whose outcome was not known before that clock. Needs the
    partitions up to ``as_of`` of the raw tables as views of ``con``.

    Raises:
        UnknownPartition: no day between ``first`` and ``as_of`` has complete labels yet.
    """
    asked_partitions(con, first, last_label_day(as_of), time_zone)
    folder = sql / "training"
    clock = partitions.clock(as_of, time_zone).isoformat()
    return (
        f"SELECT * FROM ({(folder / 'entities.sql').read_text(encoding='utf-8')})\n"
        f"INNER JOIN ({(folder / 'labels.sql').read_text(encoding='utf-8')})\n"
        f"USING ({', '.join(map(identifier, keys))}) WHERE label_known_at < TIMESTAMPTZ '{clock}'"
    )


def asked_partitions(con: duckdb.DuckDBPyConnection, first: str, last: str, time_zone: str) -> None:
    """Create the temporary table ``partitions``: ``ds``, ``day`` and ``clock`` of each day of ``first``..``last``."""
    con.execute("CREATE OR REPLACE TEMP TABLE partitions (ds VARCHAR, day DATE, clock TIMESTAMPTZ)").fetchall()
    rows = ", ".join(
        f"('{key}', DATE '{key}', TIMESTAMPTZ '{partitions.clock(key, time_zone).isoformat()}')"
        for key in partitions.key_range(first, last)
    )
    con.execute(f"INSERT INTO partitions VALUES {rows}").fetchall()
