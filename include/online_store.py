"""Feast's embedded online store, with a guard: online values never move backwards in event time.

Feast's SQLite store lets the last writer win, so a backfill of an old partition would replace today's
values. Here a value is replaced only by one whose event (and among equal events, creation) is not
older. The guard is part of the statement that writes, so it holds between processes too.

Tables are those that Feast's store creates. Instants are written as whole microseconds since 1970 in
UTC; Feast's own adapter writes seconds of the process's local time, which neither two processes in
different zones nor one process across a clock change can compare.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import repeat
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc
from feast.feature_view import FeatureView
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import compute_table_id, extract_text_and_num
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import RepoConfig
from feast.type_map import python_values_to_proto_values
from feast.value_type import ValueType

from include.errors import LifecycleError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
KEYS_OF_ONE_QUERY = 10_000  # SQLite takes up to 32,766 parameters

TYPE: Final = "include.online_store.GuardedSqliteOnlineStore"

OnlineRow = tuple[EntityKey, dict[str, Value], datetime, datetime | None]
StoredValue = tuple[bytes, str, bytes, str | None, int, int | None]


class GuardedSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):
    """``online_store`` of ``feature_store.yaml``.

    Attributes:
        path: file of the store; its folder is created.
        busy_seconds: how long a writer waits for another one before it fails.
    """

    type: Literal["include.online_store.GuardedSqliteOnlineStore"] = TYPE  # type: ignore[assignment]
    busy_seconds: float = 120.0


class GuardedSqliteOnlineStore(SqliteOnlineStore):
    """The newest values of each entity key, in one SQLite file that many processes may use at once."""

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: Sequence[OnlineRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write ``data`` in one transaction, leaving newer values as they are."""
        self._upsert(config, table, _stored_rows(data, config.entity_key_serialization_version))
        if progress:
            progress(len(data))

    def write_table(self, config: RepoConfig, view: FeatureView, rows: pa.Table) -> None:
        """Write ``rows`` in one transaction, leaving newer values as they are.

        Several times as fast as Feast's way over one message a row and feature: equal values are
        encoded once, and columns stay columns until SQLite takes them.

        Args:
            rows: join keys and features under their Feast names, and the columns of the view's source
                with event and created instants (without a time zone they are UTC).

        Raises:
            LifecycleError: a join key is null, or a column is missing.
        """
        source = view.batch_source
        assert source is not None, "Feast materializes only views with a batch source"
        wanted = [field.name for field in (*view.entity_columns, *view.features)] + [source.timestamp_field]
        missing = sorted(set(wanted) - set(rows.column_names))
        if missing:
            raise LifecycleError(f"{view.name}: rows to write online lack the columns {missing}")
        keys = _encoded_keys(rows, view, config.entity_key_serialization_version)
        events = _microseconds(rows.column(source.timestamp_field))
        has_created = source.created_timestamp_column in rows.column_names
        created = _microseconds(rows.column(source.created_timestamp_column)) if has_created else None

        def stored() -> Iterator[StoredValue]:
            for field in view.features:
                values, texts = _encoded(rows.column(field.name), field.dtype.to_value_type())
                yield from zip(keys, repeat(field.name), values, texts, events, created or repeat(None), strict=False)

        self._upsert(config, view, stored())

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        """The stored values of each key, in the order of ``entity_keys``; ``(None, None)`` for unknown ones.

        The instant of a key is the newest event among its values.
        """
        version = config.entity_key_serialization_version
        keys = [serialize_entity_key(key, entity_key_serialization_version=version) for key in entity_keys]
        found: dict[bytes, dict[str, Value]] = {}
        newest: dict[bytes, int] = {}
        for key, feature, value, event in self._stored_values(config, table, list(dict.fromkeys(keys))):
            if requested_features is None or feature in requested_features:
                found.setdefault(key, {})[feature] = Value.FromString(value)
                newest[key] = max(event, newest.get(key, event))
        return [
            (EPOCH + timedelta(microseconds=newest[key]), found[key]) if key in found else (None, None) for key in keys
        ]

    def _stored_values(
        self, config: RepoConfig, table: FeatureView, keys: list[bytes]
    ) -> Iterator[tuple[bytes, str, bytes, int]]:
        connection = self._get_conn(config)
        for start in range(0, len(keys), KEYS_OF_ONE_QUERY):
            part = keys[start : start + KEYS_OF_ONE_QUERY]
            yield from connection.execute(
                f"SELECT entity_key, feature_name, value, event_ts FROM {_table(config, table)}"
                f" WHERE entity_key IN ({', '.join('?' * len(part))})",
                part,
            )

    def _upsert(self, config: RepoConfig, table: FeatureView, rows: Iterable[StoredValue]) -> None:
        name = _table(config, table)
        connection = self._get_conn(config)
        # IMMEDIATE takes the write lock at once, so that waiting for it is covered by the busy timeout
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            connection.executemany(
                f"""
                INSERT INTO {name} AS stored
                    (entity_key, feature_name, value, value_text, event_ts, created_ts)
                VALUES (?, ?, ?, ?, ?, ?)
                ON CONFLICT (entity_key, feature_name) DO UPDATE
                SET value = excluded.value, value_text = excluded.value_text,
                    event_ts = excluded.event_ts, created_ts = excluded.created_ts
                WHERE (excluded.event_ts, coalesce(excluded.created_ts, excluded.event_ts))
                   >= (stored.event_ts, coalesce(stored.created_ts, stored.event_ts))""",
                rows,
            )

    def _get_conn(self, config: RepoConfig) -> sqlite3.Connection:
        if self._conn is None:
            settings = config.online_store
            if settings.vector_enabled or settings.text_search_enabled:
                raise LifecycleError(
                    "the guarded online store has no vector or text search; set vector_enabled and"
                    " text_search_enabled to false in feature_store.yaml, or name another online store"
                )
            self._conn = _connect(self._get_db_path(config), settings.busy_seconds)
        return self._conn


def _connect(path: str, busy_seconds: float) -> sqlite3.Connection:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=busy_seconds, check_same_thread=False)
    give_up = time.monotonic() + busy_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError:
            # SQLite does not wait for its lock when several processes first switch a new file to WAL
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)
    # with WAL this can lose the last transactions at a power cut, never corrupt: a rerun restores them
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _table(config: RepoConfig, table: FeatureView) -> str:
    name = compute_table_id(config.project, table, config.registry.enable_online_feature_view_versioning)
    return '"' + str(name).replace('"', '""') + '"'


def _stored_rows(data: Iterable[OnlineRow], key_version: int) -> Iterator[StoredValue]:
    for entity_key, values, event, created in data:
        key = serialize_entity_key(entity_key, entity_key_serialization_version=key_version)
        event_ts = _since_epoch(event)
        created_ts = None if created is None else _since_epoch(created)
        for feature, value in values.items():
            text, _ = extract_text_and_num(value, False)
            yield key, feature, value.SerializeToString(), text, event_ts, created_ts


def _since_epoch(instant: datetime) -> int:
    aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return (aware - EPOCH) // timedelta(microseconds=1)


def _microseconds(instants: pa.ChunkedArray) -> list[int]:
    if instants.null_count:
        raise LifecycleError(f"{instants.null_count} rows to write online have no instant; drop them first")
    unit = pa.timestamp("us", instants.type.tz)
    result: list[int] = instants.cast(unit, safe=False).cast(pa.int64()).to_pylist()
    return result


def _encoded_keys(rows: pa.Table, view: FeatureView, key_version: int) -> list[bytes]:
    names = [field.name for field in view.entity_columns]
    columns = []
    for field in view.entity_columns:
        column = rows.column(field.name)
        if column.null_count:
            raise LifecycleError(
                f"{view.name}: join key {field.name!r} is null in {column.null_count} rows to write online"
            )
        columns.append(_messages(column, field.dtype.to_value_type()))
    return [
        serialize_entity_key(
            EntityKey(join_keys=names, entity_values=values), entity_key_serialization_version=key_version
        )
        for values in zip(*columns, strict=True)
    ]


def _messages(column: pa.ChunkedArray, kind: ValueType) -> list[Value]:
    """One Feast value for each entry of ``column``; equal entries share one."""
    positions, distinct = _distinct(column)
    messages = python_values_to_proto_values(distinct, kind)
    return [messages[position] for position in positions]


def _encoded(column: pa.ChunkedArray, kind: ValueType) -> tuple[list[bytes], list[str | None]]:
    """The serialized value and its text for each entry of ``column``; equal entries share both."""
    positions, distinct = _distinct(column)
    messages = python_values_to_proto_values(distinct, kind)
    values = [message.SerializeToString() for message in messages]
    texts = [extract_text_and_num(message, False)[0] for message in messages]
    return [values[position] for position in positions], [texts[position] for position in positions]


def _distinct(column: pa.ChunkedArray) -> tuple[Sequence[int], list[Any]]:
    if pa.types.is_nested(column.type):
        return range(len(column)), column.to_pylist()
    coded = pc.dictionary_encode(column, null_encoding="encode").combine_chunks()
    if isinstance(coded, pa.ChunkedArray):
        coded = pa.concat_arrays(coded.chunks)
    return coded.indices.to_pylist(), coded.dictionary.to_pylist()
