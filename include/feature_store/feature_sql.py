"""Feature SQL: the query of each feature view, of the rows to predict and of the labelled rows, for a span.

A use case's ``sql`` folder has ``features/<view>.sql``, one query a feature view, and in ``training/``
the queries ``entities.sql`` (rows to predict) and ``labels.sql`` (their outcomes). A file in
``features/`` whose name begins with ``_`` is an intermediate that views share: it runs once, into a
temporary table of its name.

Queries read the raw tables by name, as views of the connection, and ``partitions``, which has one row
for each partition of the span: ``ds`` (the key), ``day`` (DATE, the first of the period), ``clock`` and ``until``
(UTC instants: where the period begins, and where the next one does). For each partition they use only raw partitions
up to that one, whose rows were known before its clock. So a span of one partition and a span of a year give the same
rows, and no row uses later knowledge.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from include.core import partitions
from include.core.errors import SpecError
from include.core.partitions import Span
from include.core.sql import identifier
from include.core.words import nearest

if TYPE_CHECKING:
    from include.spec.use_case import UseCase

KNOWN_AT = "label_known_at"
EVENT, CREATED = "event_timestamp", "created_timestamp"


def views(case: UseCase) -> list[str]:
    """Return the names of the feature views that have a query, sorted.

    Raises:
        SpecError: a view of the spec has no query, or a query has no view in the spec.
    """
    folder = _folder(case) / "features"
    found = {path.stem for path in folder.glob("*.sql") if path.stem[0] != "_"}
    faults = [
        f"features.views.{view} of {case.name} has no query{nearest(view, found)}; write {folder / view}.sql"
        for view in sorted(set(case.features.views) - found)
    ]
    faults += [
        f"{folder / view}.sql is no view of {case.name}{nearest(view, case.features.views)}; name it and its keys "
        f"under features.views, or begin its name with _ if only other queries read it"
        for view in sorted(found - set(case.features.views))
    ]
    if faults:
        raise SpecError(faults)
    return sorted(found)


def compute(con: duckdb.DuckDBPyConnection, case: UseCase, span: Span) -> dict[str, str]:
    """Return the query of each feature view for ``span``, by view.

    Needs the raw tables as views of ``con``, with the partitions of ``UseCase.lookback`` (more do no harm),
    and ``SET TimeZone = 'UTC'``. Creates ``partitions`` and the intermediates as temporary tables, so the
    queries are valid until the next call on the same connection.

    Rows of a query: one for each entity of each partition, in no particular order. Columns: ``ds``, the
    entity's keys, ``event_timestamp`` and ``created_timestamp`` (both clock(ds)), features.

    Raises:
        SpecError: a query cannot run, lacks a column, or the queries are not those of the spec's views.
    """
    names, folder = views(case), _folder(case) / "features"
    asked_partitions(con, case, span)
    for path in sorted(folder.glob("_*.sql")):
        query = _read(path)
        _columns(con, path, query)
        con.execute(f"CREATE OR REPLACE TEMP TABLE {identifier(path.stem)} AS {query}").fetchall()
    needed = {view: ("ds", *case.features.views[view], EVENT, CREATED) for view in names}
    return {view: _checked(con, folder / f"{view}.sql", needed[view]) for view in names}


def scoring_rows(con: duckdb.DuckDBPyConnection, case: UseCase, span: Span) -> str:
    """Return the query of the rows to predict in ``span``: keys, request columns, ``event_timestamp``.

    Needs the raw tables as views of ``con``; creates ``partitions``, as ``compute`` does.

    Raises:
        SpecError: the query cannot run, lacks a column, or gives the label.
    """
    asked_partitions(con, case, span)
    return _entities(con, case)


def training_rows(con: duckdb.DuckDBPyConnection, case: UseCase, span: Span, as_of: str) -> str:
    """Return the query of the labelled rows of ``span`` that a training at the clock of ``as_of`` may learn from.

    Rows: those of ``scoring_rows``, with the label and ``label_known_at``, joined by partition and ``training.keys``,
    without rows whose outcome was not known before that clock. Needs the partitions up to ``as_of`` of the raw tables
    as views of ``con``.

    Raises:
        SpecError: a query cannot run or lacks a column, or that of the labels gives any other.
    """
    outcomes = label_rows(con, case, span)
    keys, label = ", ".join(map(identifier, ("ds", *case.training.keys))), identifier(case.training.label)
    clock = partitions.clock(as_of, case.time_zone).isoformat()
    return (
        f"SELECT entities.*, outcomes.{label}, outcomes.{KNOWN_AT} FROM ({_entities(con, case)}) AS entities\n"
        f"INNER JOIN ({outcomes}) AS outcomes USING ({keys}) WHERE {KNOWN_AT} < TIMESTAMPTZ '{clock}'"
    )


def label_rows(con: duckdb.DuckDBPyConnection, case: UseCase, span: Span) -> str:
    """Return the query of the outcomes of ``span``: ``ds``, ``training.keys``, the label, ``label_known_at``.

    Needs the raw tables as views of ``con``; creates ``partitions``, as ``compute`` does.

    Raises:
        SpecError: the query cannot run, lacks a column, or gives any other.
    """
    asked_partitions(con, case, span)
    path = _folder(case) / "training" / "labels.sql"
    return _checked(con, path, ("ds", *case.training.keys, case.training.label, KNOWN_AT), only=True)


def asked_partitions(con: duckdb.DuckDBPyConnection, case: UseCase, span: Span) -> None:
    """Create the temporary table ``partitions``: ``ds``, ``day``, ``clock`` and ``until`` of each one of ``span``."""
    columns = "ds VARCHAR, day DATE, clock TIMESTAMPTZ, until TIMESTAMPTZ"
    con.execute(f"CREATE OR REPLACE TEMP TABLE partitions ({columns})").fetchall()
    keys = span.keys
    clocks = [partitions.clock(key, case.time_zone) for key in (*keys, partitions.shift(keys[-1], 1))]
    instants = pairwise(f"TIMESTAMPTZ '{clock.isoformat()}'" for clock in clocks)
    rows = ", ".join(
        f"('{key}', DATE '{partitions.parse(key)}', {clock}, {until})"
        for key, (clock, until) in zip(keys, instants, strict=True)
    )
    con.execute(f"INSERT INTO partitions VALUES {rows}").fetchall()


def _folder(case: UseCase) -> Path:
    return case.assets_folder / "sql"


def _entities(con: duckdb.DuckDBPyConnection, case: UseCase) -> str:
    path = _folder(case) / "training" / "entities.sql"
    joined = {key: None for keys in case.features.views.values() for key in keys}
    needed = tuple(dict.fromkeys(("ds", *case.predictions.key, *case.training.keys, *joined, EVENT)))
    query = _checked(con, path, needed)
    if case.training.label in _columns(con, path, query):
        raise SpecError([f"{path} gives the label {case.training.label!r}; only labels.sql may: remove it here"])
    return query


def _checked(con: duckdb.DuckDBPyConnection, path: Path, needed: Sequence[str], *, only: bool = False) -> str:
    """Return the query in ``path`` if it gives the columns that are needed, and with ``only`` no others."""
    query = _read(path)
    given = _columns(con, path, query)
    faults = [
        f"{path} gives no column {name!r}{nearest(name, given)}" for name in dict.fromkeys(needed) if name not in given
    ]
    if only:
        faults += [
            f"{path} gives the column {name!r}, which is neither the label nor a key; it would be learnt from and be "
            f"missing when a partition is scored: remove it"
            for name in given
            if name not in needed
        ]
    if faults:
        raise SpecError(faults)
    return query


def _columns(con: duckdb.DuckDBPyConnection, path: Path, query: str) -> list[str]:
    """Return the names of the columns that ``query`` gives; runs nothing.

    Raises:
        SpecError: DuckDB cannot parse the query, or a table or column in it does not exist.
    """
    try:
        return [str(row[0]) for row in con.execute(f"DESCRIBE {query}").fetchall()]
    except (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException) as error:
        raise SpecError([f"{path} cannot run: {error}"]) from error


def _read(path: Path) -> str:
    """Return the query in ``path``; the end of its last line also ends a comment."""
    try:
        return path.read_text(encoding="utf-8").rstrip().rstrip(";") + "\n"
    except FileNotFoundError:
        raise SpecError([f"{path} does not exist; docs/how-to/use-case.md says what it must give"]) from None
