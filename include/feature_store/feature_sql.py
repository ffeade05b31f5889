"""Feature SQL: which days it reads, and the query of each feature view for a range of days.

A use case's ``sql`` folder has ``features/<view>.sql``, one query a feature view, and in ``training/``
the queries ``entities.sql`` (rows to predict) and ``labels.sql`` (what became of them). A file in
``features/`` whose name begins with ``_`` is an intermediate that views share: it is run once into a
temporary table of its name.

Queries read the raw tables by name as views of the connection, and ``partitions``, which has one row
for each asked day: ``ds`` (the key), ``day`` (DATE), ``clock`` (UTC instant). They take from a raw table
only partitions up to the asked day, and what is in those was known before its clock: so a range of one
day and a range of a year give the same rows, and no row is ahead of its time.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from include.core import partitions
from include.core.errors import SpecError

if TYPE_CHECKING:
    import duckdb

LOOK_BACK = 28
"""Partitions that a day's features read: itself and the 27 before it."""

LABEL_DELAY = 2
"""Days until the outcomes of a day are all but complete: the last flights of D land during D+1."""


def inputs_window(first: str, last: str, history_first: str) -> tuple[str, str]:
    """First and last raw partition that the features of ``first``..``last`` read.

    Clipped at the start of history, where windows are shorter and their counts say so.
    """
    return max(partitions.shift(first, 1 - LOOK_BACK), history_first), last


def first_label_day(history_first: str) -> str:
    """The first day whose features have a whole look-back."""
    return partitions.shift(history_first, LOOK_BACK)


def last_label_day(as_of: str) -> str:
    """The last day whose labels a training set of ``as_of`` may use."""
    return partitions.shift(as_of, -LABEL_DELAY)


def views(sql: Path) -> list[str]:
    """Names of the feature views of a use case's ``sql`` folder, in order.

    Raises:
        SpecError: the folder has none.
    """
    names = sorted(path.stem for path in (sql / "features").glob("*.sql") if path.stem[0] != "_")
    if not names:
        raise SpecError([f"{sql / 'features'} has no feature SQL; write one query a feature view there"])
    return names


def compute(con: duckdb.DuckDBPyConnection, sql: Path, first: str, last: str, time_zone: str) -> dict[str, str]:
    """The query of each feature view for the days ``first``..``last``.

    Needs the raw tables as views of ``con``, with the partitions of ``inputs_window`` (more do no harm),
    and ``SET TimeZone = 'UTC'``. Makes ``partitions`` and the intermediates as temporary tables, so the
    queries hold until the next call on the same connection.

    Rows: one an entity of the day's schedule. Columns: ``ds``, the entity's keys, ``event_timestamp``
    and ``created_timestamp`` (both clock(ds)), features. No order is promised.
    """
    asked_partitions(con, first, last, time_zone)
    folder = sql / "features"
    for path in sorted(folder.glob("_*.sql")):
        con.execute(f"CREATE OR REPLACE TEMP TABLE {path.stem} AS {path.read_text()}").fetchall()
    return {view: (folder / f"{view}.sql").read_text() for view in views(sql)}


def scoring_rows(con: duckdb.DuckDBPyConnection, sql: Path, first: str, last: str, time_zone: str) -> str:
    """The query of the rows to predict on ``first``..``last``: keys, request columns, event_timestamp.

    Needs ``schedule`` as a view of ``con``; makes ``partitions``, as ``compute`` does.
    """
    asked_partitions(con, first, last, time_zone)
    return (sql / "training" / "entities.sql").read_text()


def training_rows(con: duckdb.DuckDBPyConnection, sql: Path, first: str, as_of: str, time_zone: str) -> str:
    """The query of the labelled rows that a training run at the clock of ``as_of`` may learn from.

    The rows of ``scoring_rows`` for ``first`` to two days before ``as_of``, with the label and
    ``label_known_at``. Rows whose outcome was not known before that clock are left out. Needs the
    partitions up to ``as_of`` of the raw tables as views of ``con``.

    Raises:
        UnknownPartition: no day between ``first`` and ``as_of`` has complete labels yet.
    """
    asked_partitions(con, first, last_label_day(as_of), time_zone)
    folder = sql / "training"
    clock = partitions.clock(as_of, time_zone).isoformat()
    return (
        f"SELECT * FROM ({(folder / 'entities.sql').read_text()})\n"
        f"INNER JOIN ({(folder / 'labels.sql').read_text()})\n"
        f"USING (flight_date, carrier, flight, origin) WHERE label_known_at < TIMESTAMPTZ '{clock}'"
    )


def asked_partitions(con: duckdb.DuckDBPyConnection, first: str, last: str, time_zone: str) -> None:
    """Make the temporary table ``partitions``: ``ds``, ``day``, ``clock`` of each day asked for."""
    con.execute("CREATE OR REPLACE TEMP TABLE partitions (ds VARCHAR, day DATE, clock TIMESTAMPTZ)").fetchall()
    rows = ", ".join(
        f"('{key}', DATE '{key}', TIMESTAMPTZ '{partitions.clock(key, time_zone).isoformat()}')"
        for key in partitions.key_range(first, last)
    )
    con.execute(f"INSERT INTO partitions VALUES {rows}").fetchall()
