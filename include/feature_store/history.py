"""The history of a feature view: a Delta table, opened and attached to DuckDB as far as a query needs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import duckdb
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from include.core import sql
from include.core.errors import SourceError
from include.core.words import nearest
from include.lake import columns, delta_log

# Delta's own writers cut off the statistics to whole milliseconds: widen a lower bound by one
STATISTICS_GRAIN = timedelta(milliseconds=1)
Bounds: TypeAlias = "list[tuple[str, str, str]]"


@dataclass(frozen=True)
class History:
    """A Delta table whose rows say what was known about some keys, and when.

    Attributes:
        name: name of the feature view, for error messages.
        uri: address of the Delta table.
        keys: (column of the table, column of the entity rows) of each join key; none for one global key.
        values: (column of the table, name in the result) of each wanted value.
        event: column with the instant at which a row happened; without a time zone it means UTC.
        created: column with the instant from which a row was known; without one, its event.
        lifetime: age at which a row expires; none for never.
        table: the Delta table at ``uri`` as the caller has opened it; none to open its newest version.
        later: columns of a later version of the table; those that ``table`` lacks are null.
    """

    name: str
    uri: str
    keys: tuple[tuple[str, str], ...]
    values: tuple[tuple[str, str], ...]
    event: str
    created: str | None = None
    lifetime: timedelta | None = None
    table: DeltaTable | None = None
    later: pa.Schema | None = None

    def open(self) -> Opened:
        """Open the table and check its columns; no file is read yet.

        Raises:
            SourceError: there is no such table, or it lacks a column.
        """
        table = self.table or find(self.uri)
        if table is None:
            raise SourceError(f"{self.name}: there is no Delta table at {self.uri}; publish its features first")
        own = pa.schema(table.schema().to_arrow())
        more = [field for field in self.later or () if field.name not in own.names]
        schema = pa.schema([*own, *more])
        wanted = [column for column, _ in (*self.keys, *self.values)] + [self.event]
        wanted += [self.created] if self.created else []
        faults = [self._missing(column, schema.names) for column in wanted]
        if any(faults):
            raise SourceError("; ".join(fault for fault in faults if fault))
        on_disk = "://" not in self.uri and table.file_uris() != []
        in_files = on_disk and not set(wanted) & set(table.metadata().partition_columns)
        return Opened(table, schema, in_files, columns.in_files(table.schema(), more))

    def _missing(self, column: str, present: Sequence[str]) -> str | None:
        if column in present:
            return None
        return f"{self.name}: {self.uri} has no column {column!r}{nearest(column, present)}"


def find(uri: str) -> DeltaTable | None:
    """Open the newest version of the Delta table at ``uri``; return ``None`` if there is none."""
    try:
        return DeltaTable(uri)
    except TableNotFoundError:
        return None


@dataclass(frozen=True)
class Opened:
    """A Delta table whose log is read and whose files are not.

    Attributes:
        table: the table.
        schema: its columns, and those of a later version.
        in_files: true if DuckDB can read the wanted columns itself, from files on this machine.
        types: DuckDB type of each column of the files, if some files may lack some columns.
    """

    table: DeltaTable
    schema: pa.Schema
    in_files: bool
    types: Mapping[str, str] | None = None

    @contextmanager
    def attached(
        self, connection: duckdb.DuckDBPyConnection, event: str, since: datetime | None, until: datetime | None
    ) -> Iterator[None]:
        """Let ``connection`` read the rows with an event in ``[since, until]`` as the view ``history_rows``.

        Files whose statistics lie outside are not opened; without DuckDB's own reader, files that are opened may give
        rows outside. DuckDB's reader takes a fraction of the time of a scan through Arrow, above all for many small
        files.
        """
        bounds = _bounds_of(self.schema.field(event), since, until)
        if self.in_files:
            connection.execute(
                f"CREATE OR REPLACE TEMP VIEW history_rows AS {self._query(bounds, event, since, until)}"
            )
        else:
            rows = self.table.to_pyarrow_dataset(file_pruning_predicate=bounds)
            connection.register("history_rows", rows if self.types is None else rows.replace_schema(self.schema))
        try:
            yield
        finally:
            connection.execute("DROP VIEW IF EXISTS history_rows")
            connection.unregister("history_rows")

    def _query(self, bounds: Bounds | None, event: str, since: datetime | None, until: datetime | None) -> str:
        files = delta_log.file_paths(self.table, bounds)
        where = time_filter(event, since, until)
        if not files:
            # read the column types from any file, and no rows
            files, where = delta_log.file_paths(self.table)[:1], "false"
        if self.types is not None:
            return f"SELECT * FROM {sql.parquet(files, self.types)} WHERE {where}"
        listed = ", ".join(_text(file) for file in files)
        return f"SELECT * FROM read_parquet([{listed}], hive_partitioning = false, union_by_name = true) WHERE {where}"


def history_sql(history: History, *conditions: str) -> str:
    """Return the query of the rows of ``history_rows`` that meet ``conditions`` and whose creation is not null.

    Columns: keys as ``k0``, ``k1``..., values as ``v0``, ``v1``..., ``event`` and ``created`` as UTC instants.
    """
    selected = [f"{quoted(column)} AS k{n}" for n, (column, _) in enumerate(history.keys)]
    selected += [f"{quoted(column)} AS v{n}" for n, (column, _) in enumerate(history.values)]
    selected += [f"CAST({quoted(history.event)} AS TIMESTAMPTZ) AS event"]
    selected += [f"CAST({quoted(history.created)} AS TIMESTAMPTZ) AS created"] if history.created else []
    known = [f"{quoted(history.created)} IS NOT NULL"] if history.created else []
    where = " AND ".join([*conditions, *known]) or "true"
    return f"SELECT {', '.join(selected)} FROM history_rows WHERE {where}"


def time_filter(event: str, since: datetime | None, until: datetime | None) -> str:
    """Return the SQL condition that the column ``event`` lies in ``[since, until]``; a bound may be open."""
    instant = f"CAST({quoted(event)} AS TIMESTAMPTZ)"
    conditions = [f"{quoted(event)} IS NOT NULL"]
    conditions += [f"{instant} >= TIMESTAMPTZ '{since.astimezone(UTC).isoformat()}'"] if since else []
    conditions += [f"{instant} <= TIMESTAMPTZ '{until.astimezone(UTC).isoformat()}'"] if until else []
    return " AND ".join(conditions)


def quoted(name: str) -> str:
    """Quote ``name`` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _bounds_of(event: pa.Field, since: datetime | None, until: datetime | None) -> Bounds | None:
    """Return the bounds to compare with file statistics, if a bound is given and the column has statistics."""
    # deltalake 1.6 cannot compare a column without a zone to any instant; without bounds all files are opened
    if not pa.types.is_timestamp(event.type) or event.type.tz is None:
        return None
    bounds = [(event.name, ">=", _instant(since - STATISTICS_GRAIN))] if since else []
    bounds += [(event.name, "<=", _instant(until))] if until else []
    return bounds or None


def _instant(instant: datetime) -> str:
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
