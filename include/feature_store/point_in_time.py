"""What was known at each instant: as-of joins over Delta tables, in SQL.

A history row may be used at instant ``t`` when it happened by then (``event <= t``), was known by then
(``created <= t``), and is not older than the view's lifetime (``event >= t - lifetime``). Of the usable
rows of a key the one with the latest event is taken; among equal events, the one created last.

DuckDB's ``ASOF JOIN`` finds the latest event by one sort of the history and knows nothing of the
second clock. It is therefore used alone where the history shows that this cannot matter (no row was
created after its event, and no two candidates share an event), and inside an exact, slower query
otherwise. Both are set-oriented: no query runs per row, per key or per partition.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from include.core.errors import LifecycleError, SourceError

# Delta keeps file statistics in whole milliseconds, cut off: a lower bound must not trust the rest
STATISTICS_GRAIN = timedelta(milliseconds=1)
Bounds: TypeAlias = "list[tuple[str, str, str]]"


@dataclass(frozen=True)
class Opened:
    """A Delta table that is about to be read.

    Attributes:
        table: the table; its log is read, its files are not.
        schema: its columns.
        in_files: whether DuckDB can read all that is wanted by itself: from files of this machine.
    """

    table: DeltaTable
    schema: pa.Schema
    in_files: bool

    @contextmanager
    def attached(
        self, connection: duckdb.DuckDBPyConnection, event: str, since: datetime | None, until: datetime | None
    ) -> Iterator[None]:
        """Let ``connection`` read the rows with an event in ``[since, until]``, and little more, as ``history_rows``.

        Files whose statistics lie outside are not opened. DuckDB's own reader takes a fraction of the time
        that a scan through Arrow does, most of all of many small files.
        """
        bounds = _bounds_of(self.schema.field(event), since, until)
        if self.in_files:
            connection.execute(
                f"CREATE OR REPLACE TEMP VIEW history_rows AS {self._query(bounds, event, since, until)}"
            )
        else:
            rows = self.table.to_pyarrow_dataset(file_pruning_predicate=bounds)
            connection.register("history_rows", rows)
        try:
            yield
        finally:
            connection.execute("DROP VIEW IF EXISTS history_rows")
            connection.unregister("history_rows")

    def _query(self, bounds: Bounds | None, event: str, since: datetime | None, until: datetime | None) -> str:
        files = self.table.file_uris(file_pruning_predicate=bounds)
        where = _time_filter(event, since, until)
        if not files:
            # any file tells the columns' types, and none of its rows is wanted
            files, where = self.table.file_uris()[:1], "false"
        listed = ", ".join(_text(file) for file in files)
        return f"SELECT * FROM read_parquet([{listed}], hive_partitioning = false, union_by_name = true) WHERE {where}"


@dataclass(frozen=True)
class History:
    """A Delta table that holds what was known about some keys, and when.

    Attributes:
        name: what to call it in errors: the feature view.
        uri: address of the Delta table.
        keys: (column of the table, column of the entity rows) of each join key; none for one global key.
        values: (column of the table, name in the result) of each wanted value.
        event: column with the instant at which a row happened; without a time zone it means UTC.
        created: column with the instant from which a row was known; without one, its event.
        lifetime: age at which a row expires; none for never.
        table: the Delta table at ``uri`` as the caller has opened it; none to open its newest version.
    """

    name: str
    uri: str
    keys: tuple[tuple[str, str], ...]
    values: tuple[tuple[str, str], ...]
    event: str
    created: str | None = None
    lifetime: timedelta | None = None
    table: DeltaTable | None = None

    def open(self) -> Opened:
        """The table, its columns checked; nothing is read yet.

        Raises:
            SourceError: there is no such table, or it lacks a column.
        """
        try:
            table = self.table or DeltaTable(self.uri)
        except TableNotFoundError as error:
            raise SourceError(
                f"{self.name}: there is no Delta table at {self.uri}; publish its features first"
            ) from error
        schema = pa.schema(table.schema().to_arrow())
        wanted = [column for column, _ in (*self.keys, *self.values)] + [self.event]
        wanted += [self.created] if self.created else []
        faults = [self._missing(column, schema.names) for column in wanted]
        if any(faults):
            raise SourceError("; ".join(fault for fault in faults if fault))
        on_disk = "://" not in self.uri and table.file_uris() != []
        return Opened(table, schema, on_disk and not set(wanted) & set(table.metadata().partition_columns))

    def _missing(self, column: str, present: Sequence[str]) -> str | None:
        if column in present:
            return None
        nearest = difflib.get_close_matches(column, present, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else f"; it has {', '.join(present)}"
        return f"{self.name}: {self.uri} has no column {column!r}{hint}"


def values_as_of(connection: duckdb.DuckDBPyConnection, rows: pa.Table, instant: str, history: History) -> pa.Table:
    """The values of ``history`` that were known at each row's instant.

    Args:
        connection: from :func:`include.core.engine.engine`.
        rows: entity rows with the key columns and ``instant`` (``timestamp('us', 'UTC')``, no nulls).
            Keys may be null and rows may repeat.
        instant: name of the column with the instant of each row.
        history: what to look up.

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
    """The latest row of each key whose event lies in ``[since, until]``; rows with a null key are left out.

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
    # an aggregate holds one row a key in memory, where a window would sort the whole history
    rows = history_sql(
        history,
        _time_filter(history.event, since, until),
        *(f"{quoted(column)} IS NOT NULL" for column, _ in history.keys),
    )
    sql = f"""
        SELECT {", ".join(names)}
        FROM (SELECT {", ".join([*keys, f"arg_max(struct_pack({packed}), {rank}) AS latest"])}
              FROM ({rows})
              {"GROUP BY " + ", ".join(keys) if keys else ""})
        WHERE latest IS NOT NULL"""
    with history.open().attached(connection, history.event, since, until):
        return arrow(connection, sql)


def all_values(
    connection: duckdb.DuckDBPyConnection, history: History, since: datetime | None, until: datetime | None
) -> pa.Table:
    """Every row whose event lies in ``[since, until]``; the columns are those of :func:`latest_values`."""
    names = [f"{quoted(column)} AS {quoted(name)}" for column, name in (*history.keys, *history.values)]
    names += [quoted(column) for column in (history.event, history.created) if column]
    where = _time_filter(history.event, since, until)
    with history.open().attached(connection, history.event, since, until):
        return arrow(connection, f"SELECT {', '.join(names)} FROM history_rows WHERE {where}")


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """``name`` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def arrow(connection: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    """The whole result of ``sql``."""
    return connection.sql(sql).to_arrow_table()


# Orders rows by event, then by creation, as one number: ASOF JOIN takes one inequality
_RANK = "(epoch_us(event)::HUGEINT * 18446744073709551616 + epoch_us(created))"
_RANK_AT_INSTANT = "(epoch_us(p.instant)::HUGEINT * 18446744073709551616 + 9223372036854775807)"


def history_sql(history: History, *conditions: str) -> str:
    """The rows of ``history_rows`` that meet ``conditions`` and can be shown to have been known.

    Their keys are called k0.., their values v0.., and event and created are UTC instants.
    """
    columns = [f"{quoted(column)} AS k{n}" for n, (column, _) in enumerate(history.keys)]
    columns += [f"{quoted(column)} AS v{n}" for n, (column, _) in enumerate(history.values)]
    columns += [f"CAST({quoted(history.event)} AS TIMESTAMPTZ) AS event"]
    columns += [f"CAST({quoted(history.created)} AS TIMESTAMPTZ) AS created"] if history.created else []
    known = [f"{quoted(history.created)} IS NOT NULL"] if history.created else []
    where = " AND ".join([*conditions, *known]) or "true"
    return f"SELECT {', '.join(columns)} FROM history_rows WHERE {where}"


class _Plan:
    """The queries of one as-of join over the registered ``entity_rows`` and ``history_rows``."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, history: History) -> None:
        self.connection = connection
        self.history = history
        self.keys = [f"k{n}" for n in range(len(history.keys))]
        self.values = [f"v{n}" for n in range(len(history.values))]

    def run(self) -> pa.Table:
        late, revised = self._second_clock()
        rows = history_sql(self.history)
        # entity rows often repeat a coarser view's key and instant: each is looked up once
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
        """Whether some row was created after its event, and whether any differ at all.

        Where all are equal, the created column is not read again.
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
        """Whether another row with the event that was found was created later than the one found."""
        same = " AND ".join([f"f.{key} = h.{key}" for key in self.keys] + ["f.event = h.event"])
        outdated = f"SELECT 1 FROM found f JOIN ({rows}) h ON {same} WHERE h.created > f.created"
        return bool(self._execute(f"SELECT EXISTS ({outdated})")[0][0])

    def _find_exactly(self, rows: str) -> None:
        """Take the best row that was known by its event, or the best known late, whichever ranks higher."""
        ranked = f"SELECT *, {_RANK} AS rank FROM ({rows})"
        known_at_event = f"SELECT * FROM ({ranked}) WHERE created <= event"
        # a late row counts from its creation, and only while no row known by then ranks higher
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
        """What was found, one row for each entity row and in their order; expired values are null."""
        on = [f"e.{key} = f.{key}" for key in self.keys] + ["e.instant = f.instant"]
        if self.history.lifetime:
            microseconds = self.history.lifetime // timedelta(microseconds=1)
            on += [f"f.event >= e.instant - to_microseconds({microseconds})"]
        names = [
            f"f.{value} AS {quoted(name)}" for value, (_, name) in zip(self.values, self.history.values, strict=True)
        ]
        joined = f"entity_rows e LEFT JOIN found f ON {' AND '.join(on)}"
        return arrow(self.connection, f"SELECT {', '.join(names)} FROM {joined} ORDER BY e.position")

    def _execute(self, sql: str) -> list[tuple[object, ...]]:
        rows: list[tuple[object, ...]] = self.connection.execute(sql).fetchall()
        return rows


def _narrow(rows: pa.Table, instant: str, history: History) -> pa.Table:
    columns = {f"k{n}": rows.column(name) for n, (_, name) in enumerate(history.keys)}
    position = pa.array(np.arange(len(rows)))
    return pa.table({"position": position, "instant": rows.column(instant), **columns})


def _bounds_of(event: pa.Field, since: datetime | None, until: datetime | None) -> Bounds | None:
    """What decides by a file's statistics whether it is read; None where there is nothing to compare."""
    if not pa.types.is_timestamp(event.type):
        return None
    zone = "Z" if event.type.tz else ""
    bounds = [(event.name, ">=", _instant(since - STATISTICS_GRAIN, zone))] if since else []
    bounds += [(event.name, "<=", _instant(until, zone))] if until else []
    return bounds or None


def _instant(instant: datetime, zone: str) -> str:
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + zone


def _time_filter(event: str, since: datetime | None, until: datetime | None) -> str:
    instant = f"CAST({quoted(event)} AS TIMESTAMPTZ)"
    conditions = [f"{quoted(event)} IS NOT NULL"]
    conditions += [f"{instant} >= TIMESTAMPTZ '{since.astimezone(UTC).isoformat()}'"] if since else []
    conditions += [f"{instant} <= TIMESTAMPTZ '{until.astimezone(UTC).isoformat()}'"] if until else []
    return " AND ".join(conditions)


def _bounds(instants: pa.ChunkedArray) -> tuple[datetime | None, datetime | None]:
    extremes = pc.min_max(instants)
    return extremes["min"].as_py(), extremes["max"].as_py()


def _refuse_incomparable(rows: pa.Schema, table: pa.Schema, history: History) -> None:
    """Refuse a text key against a number: SQL would convert one of them, row by row, until it fails."""
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
