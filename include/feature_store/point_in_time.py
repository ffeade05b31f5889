"""As-of joins over Delta tables, in SQL: look up what was known at each instant.

A history row may be used at instant ``t`` when it happened by then (``event <= t``), was known by then
(``created <= t``), and is not older than the view's lifetime (``event >= t - lifetime``). Of the usable
rows of a key the row with the latest event is taken; among equal events, the row created last.

DuckDB's ``ASOF JOIN`` finds the latest event by one sort of the history, and takes no second clock
into account. It is used alone where the second clock cannot matter (no row was created after its
event, and no two candidates share an event), else inside an exact, slower query. Both are
set-oriented: no query runs per row, per key or per partition.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from include.core.errors import LifecycleError
from include.feature_store.history import History, history_sql, quoted, time_filter

# Orders rows by event, then by creation, as one number: ASOF JOIN takes one inequality
_RANK = "(epoch_us(event)::HUGEINT * 18446744073709551616 + epoch_us(created))"
_RANK_AT_INSTANT = "(epoch_us(p.instant)::HUGEINT * 18446744073709551616 + 9223372036854775807)"


def values_as_of(connection: duckdb.DuckDBPyConnection, rows: pa.Table, instant: str, history: History) -> pa.Table:
    """Look up the values of ``history`` that were known at each row's instant.

    Args:
        connection: from :func:`include.core.engine.engine`.
        rows: entity rows with the key columns and ``instant`` (``timestamp('us', 'UTC')``, no nulls).
            Keys may be null and rows may repeat.
        instant: name of the column with the instant of each row.
        history: the table to look up in.

    Returns:
        One row for each of ``rows``, in their order, with the value columns only. Null where nothing
        usable was known.
    """
    table = history.open()
    schema = table.schema
    _refuse_incomparable(rows.schema, schema, history)
    first, last = _bounds(rows.column(instant))
    if first is None or last is None:
        return pa.table({name: pa.nulls(0, schema.field(column).type) for column, name in history.values})
    since = first - history.lifetime if history.lifetime else None
    plan = _Plan(connection, history)
    connection.register("entity_rows", _narrow(rows, instant, history))
    with table.attached(connection, history.event, since, last):
        try:
            return plan.run()
        finally:
            plan.clear()


def latest_values(
    connection: duckdb.DuckDBPyConnection, history: History, since: datetime, until: datetime
) -> pa.Table:
    """Return the latest row of each key whose event lies in ``[since, until]``; leave out rows with a null key.

    Returns:
        Columns: the keys under their names for entity rows, the values under their result names, then
        the event and created columns under their own.
    """
    keys = [f"k{n}" for n in range(len(history.keys))]
    rank = _RANK if history.created else "event"
    packed = ", ".join(
        [f"v{n} := v{n}" for n in range(len(history.values))]
        + ["event := event"]
        + (["created := created"] if history.created else [])
    )
    names = [f"{key} AS {quoted(name)}" for key, (_, name) in zip(keys, history.keys, strict=True)]
    names += [f"latest.v{n} AS {quoted(name)}" for n, (_, name) in enumerate(history.values)]
    names += [f"latest.event AS {quoted(history.event)}"]
    names += [f"latest.created AS {quoted(history.created)}"] if history.created else []
    # an aggregate holds one row a key in memory; a window function would sort the whole history
    rows = history_sql(
        history,
        time_filter(history.event, since, until),
        *(f"{quoted(column)} IS NOT NULL" for column, _ in history.keys),
    )
    sql = f"""
        SELECT {", ".join(names)}
        FROM (SELECT {", ".join([*keys, f"arg_max(struct_pack({packed}), {rank}) AS latest"])}
              FROM ({rows})
              {"GROUP BY " + ", ".join(keys) if keys else ""})
        WHERE latest IS NOT NULL"""
    with history.open().attached(connection, history.event, since, until):
        return _arrow(connection, sql)


def all_values(
    connection: duckdb.DuckDBPyConnection, history: History, since: datetime | None, until: datetime | None
) -> pa.Table:
    """Return every row whose event lies in ``[since, until]``, with the columns of :func:`latest_values`."""
    names = [f"{quoted(column)} AS {quoted(name)}" for column, name in (*history.keys, *history.values)]
    names += [quoted(column) for column in (history.event, history.created) if column]
    where = time_filter(history.event, since, until)
    with history.open().attached(connection, history.event, since, until):
        return _arrow(connection, f"SELECT {', '.join(names)} FROM history_rows WHERE {where}")


class _Plan:
    """The queries of one as-of join over the views ``entity_rows`` and ``history_rows``."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, history: History) -> None:
        self.connection = connection
        self.history = history
        self.keys = [f"k{n}" for n in range(len(history.keys))]
        self.values = [f"v{n}" for n in range(len(history.values))]

    def run(self) -> pa.Table:
        late, revised = self._second_clock()
        rows = history_sql(self.history)
        # many entity rows share the key and instant of a coarser view: look up each pair once
        present = " AND ".join(f"{key} IS NOT NULL" for key in self.keys) or "true"
        distinct = ", ".join([*self.keys, "instant"])
        self._execute(f"CREATE TEMP TABLE pairs AS SELECT DISTINCT {distinct} FROM entity_rows WHERE {present}")
        if late:
            self._find_exactly(rows)
        else:
            self._find_by_event(rows)
            if revised and self._found_outdated(rows):
                self._execute("DROP TABLE found")
                self._find_exactly(rows)
        return self._align()

    def clear(self) -> None:
        for table in ("pairs", "found"):
            self._execute(f"DROP TABLE IF EXISTS {table}")
        self.connection.unregister("entity_rows")

    def _second_clock(self) -> tuple[bool, bool]:
        """Tell whether some row was created after its event, and whether creation and event differ in some row.

        If they are equal in all rows, the created column is not read again.
        """
        if not self.history.created:
            return False, False
        event = f"CAST({quoted(self.history.event)} AS TIMESTAMPTZ)"
        created = f"CAST({quoted(self.history.created)} AS TIMESTAMPTZ)"
        late, revised = self._execute(
            f"SELECT bool_or({created} > {event}), bool_or({created} IS DISTINCT FROM {event}) FROM history_rows"
        )[0]
        if revised is not True:
            self.history = replace(self.history, created=None)
        return late is True, revised is True

    def _find_by_event(self, rows: str) -> None:
        self._execute(f"CREATE TEMP TABLE found AS {self._as_of(rows, 'p.instant >= h.event')}")

    def _found_outdated(self, rows: str) -> bool:
        """Tell whether some found row is not the last created among the rows with its key and event."""
        same = " AND ".join([f"f.{key} = h.{key}" for key in self.keys] + ["f.event = h.event"])
        outdated = f"SELECT 1 FROM found f JOIN ({rows}) h ON {same} WHERE h.created > f.created"
        return bool(self._execute(f"SELECT EXISTS ({outdated})")[0][0])

    def _find_exactly(self, rows: str) -> None:
        """Find the row of the highest rank among rows known by their event and rows known only later."""
        ranked = f"SELECT *, {_RANK} AS rank FROM ({rows})"
        known_at_event = f"SELECT * FROM ({ranked}) WHERE created <= event"
        # a late row counts from its creation on, and only if no row created before it ranks higher
        partition = f"PARTITION BY {', '.join(self.keys)}" if self.keys else ""
        known_late = f"""
            SELECT * FROM ({ranked}) WHERE created > event
            QUALIFY rank = max(rank) OVER ({partition} ORDER BY created RANGE UNBOUNDED PRECEDING)"""
        pair = ", ".join([*self.keys, "instant"])
        self._execute(f"""
            CREATE TEMP TABLE found AS
            SELECT * FROM ({self._as_of(known_at_event, f"{_RANK_AT_INSTANT} >= h.rank", "h.rank")}
                           UNION ALL
                           {self._as_of(known_late, "p.instant >= h.created", "h.rank")})
            QUALIFY row_number() OVER (PARTITION BY {pair} ORDER BY rank DESC) = 1""")

    def _as_of(self, rows: str, inequality: str, *extra: str) -> str:
        columns = [f"p.{key}" for key in self.keys] + ["p.instant", "h.event"]
        columns += ["h.created"] if self.history.created else []
        columns += [f"h.{value}" for value in self.values]
        on = " AND ".join([f"p.{key} = h.{key}" for key in self.keys] + [inequality])
        return f"SELECT {', '.join([*columns, *extra])} FROM pairs p ASOF JOIN ({rows}) h ON {on}"

    def _align(self) -> pa.Table:
        """Return the found values, one row for each entity row and in their order; expired values are null."""
        on = [f"e.{key} = f.{key}" for key in self.keys] + ["e.instant = f.instant"]
        if self.history.lifetime:
            microseconds = self.history.lifetime // timedelta(microseconds=1)
            on += [f"f.event >= e.instant - to_microseconds({microseconds})"]
        names = [
            f"f.{value} AS {quoted(name)}" for value, (_, name) in zip(self.values, self.history.values, strict=True)
        ]
        joined = f"entity_rows e LEFT JOIN found f ON {' AND '.join(on)}"
        return _arrow(self.connection, f"SELECT {', '.join(names)} FROM {joined} ORDER BY e.position")

    def _execute(self, sql: str) -> list[tuple[object, ...]]:
        rows: list[tuple[object, ...]] = self.connection.execute(sql).fetchall()
        return rows


def _narrow(rows: pa.Table, instant: str, history: History) -> pa.Table:
    columns = {f"k{n}": rows.column(name) for n, (_, name) in enumerate(history.keys)}
    position = pa.array(np.arange(len(rows)))
    return pa.table({"position": position, "instant": rows.column(instant), **columns})


def _bounds(instants: pa.ChunkedArray) -> tuple[datetime | None, datetime | None]:
    extremes = pc.min_max(instants)
    return extremes["min"].as_py(), extremes["max"].as_py()


def _refuse_incomparable(rows: pa.Schema, table: pa.Schema, history: History) -> None:
    """Refuse to compare a text key with a number: SQL would convert one of them, row by row, until it fails."""
    for column, name in history.keys:
        ours, theirs = rows.field(name).type, table.field(column).type
        if not pa.types.is_null(ours) and _is_text(ours) != _is_text(theirs):
            raise LifecycleError(
                f"{history.name}: entity column {name!r} is {ours} but {column!r} of {history.uri} is"
                f" {theirs}; cast the entity rows to {theirs}"
            )


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _arrow(connection: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    """Return the whole result of ``sql``."""
    return connection.sql(sql).to_arrow_table()
