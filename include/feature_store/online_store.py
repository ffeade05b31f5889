"""Feast's embedded online store with a guard: an older value never replaces a newer one.

In Feast's SQLite store the last writer wins, so a backfill of an old partition would replace today's values.
This store replaces the values of a key only by values whose event (among equal events, creation) is not older.
The guard is part of the statement that writes, so it also holds between processes.

A feature view is one table with one row for each key, ordered by key. (Feast's own table has a row for each
feature and two indexes, which cost most of its time.) The features of a row are one message of Feast
(``include/feature_store/online_rows.py``). Its ``layout`` names the features, so that a view may gain and lose
some. Instants are whole microseconds since 1970 in UTC. Feast's own adapter writes seconds of the local time of
the process, which two processes in different zones, or one process across a clock change, cannot compare.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import repeat
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa
from feast.entity import Entity
from feast.feature_view import FeatureView
from feast.infra.infra_object import InfraObject
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import compute_table_id
from feast.infra.online_stores.sqlite import SqliteOnlineStoreConfig
from feast.protos.feast.core.Registry_pb2 import Registry
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value
from feast.repo_config import RepoConfig

from include.core import fault_points
from include.core.errors import LifecycleError
from include.feature_store.feast_private import ConnectedSqliteStore, OnlineRow
from include.feature_store.online_rows import KEY_VERSION, encoded_rows

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAYOUTS = '"feature_layouts"'
KEYS_OF_ONE_QUERY = 10_000  # SQLite takes up to 32,766 parameters

TYPE: Final = "include.feature_store.online_store.GuardedSqliteOnlineStore"

StoredRow = tuple[bytes, int, bytes, int, int | None]
"""Key, layout, features, event and creation in microseconds."""


class GuardedSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):
    """``online_store`` of ``feature_store.yaml``.

    Attributes:
        path: file of the store; its folder is created.
        busy_seconds: seconds that a writer waits for the lock of another writer before it fails.
    """

    type: Literal["include.feature_store.online_store.GuardedSqliteOnlineStore"] = TYPE  # type: ignore[assignment]
    busy_seconds: float = 120.0


class GuardedSqliteOnlineStore(ConnectedSqliteStore):
    """The newest values of each entity key, in one SQLite file that many processes may use at once."""

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: Sequence[OnlineRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write ``data`` in one transaction; keep stored values that are newer.

        Features that a row does not name keep their values.
        """
        with self._writing(config) as connection:
            for key, values, event, created in data:
                encoded = serialize_entity_key(key, entity_key_serialization_version=KEY_VERSION)
                before = self._stored_values(config, table, [encoded]).get(encoded, (None, {}))[1]
                merged = before | values
                layout = _layout(connection, tuple(merged))
                features = RepeatedValue(val=list(merged.values())).SerializeToString()
                row = (
                    encoded,
                    layout,
                    features,
                    _since_epoch(event),
                    None if created is None else _since_epoch(created),
                )
                _upsert(connection, _table(config, table), [row])
        if progress:
            progress(len(data))

    def write_table(self, config: RepoConfig, view: FeatureView, rows: pa.Table) -> None:
        """Write ``rows`` in one transaction; keep stored values that are newer.

        This is many times as fast as ``online_write_batch``, which takes one message for each row and feature:
        here the rows stay columns until SQLite takes them.

        Args:
            config: Feast's configuration.
            view: the feature view.
            rows: join keys and features under their Feast names, and the columns of the view's source
                with event and created instants (UTC if they have no time zone).

        Raises:
            LifecycleError: a join key or an instant is null, or a column is missing.
        """
        source = view.batch_source
        assert source is not None, "Feast materializes only views with a batch source"
        event, created = source.timestamp_field, source.created_timestamp_column
        _refuse_incomplete(view, rows, event)
        names = tuple(field.name for field in view.features)
        with self._writing(config) as connection:
            layout = _layout(connection, names)

            def stored() -> Iterator[StoredRow]:
                for keys, features, batch in encoded_rows(rows, view.entity_columns, view.features):
                    events = _microseconds(batch.column(event))
                    known = _microseconds(batch.column(created)) if created in batch.column_names else repeat(None)
                    yield from zip(keys, repeat(layout), features, events, known, strict=False)

            _upsert(connection, _table(config, view), stored())
            fault_points.reached("materialize.before_commit", view.name)

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        """Return event and values of each key, in the order of ``entity_keys``; ``(None, None)`` for an unknown key."""
        keys = [serialize_entity_key(key, entity_key_serialization_version=KEY_VERSION) for key in entity_keys]
        stored = self._stored_values(config, table, list(dict.fromkeys(keys)))
        found: dict[bytes, tuple[datetime | None, dict[str, Value] | None]] = {}
        for key, (event, values) in stored.items():
            wanted = {n: value for n, value in values.items() if requested_features is None or n in requested_features}
            found[key] = (EPOCH + timedelta(microseconds=event), wanted) if wanted else (None, None)
        return [found.get(key, (None, None)) for key in keys]

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Create missing tables; drop the tables of removed views."""
        _refuse_other_keys(config)
        connection = self.connection(config)
        with connection:
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {LAYOUTS} (layout INTEGER PRIMARY KEY, features TEXT NOT NULL UNIQUE)"
            )
            for table in tables_to_keep:
                connection.execute(
                    f"CREATE TABLE IF NOT EXISTS {_table(config, table)} (entity_key BLOB PRIMARY KEY, "
                    "layout INTEGER NOT NULL, features BLOB NOT NULL, event_ts INTEGER NOT NULL, created_ts INTEGER) "
                    "WITHOUT ROWID"
                )
            for table in tables_to_delete:
                connection.execute(f"DROP TABLE IF EXISTS {_table(config, table)}")

    def plan(self, config: RepoConfig, desired_registry_proto: Registry) -> list[InfraObject]:
        """Return no infrastructure objects: ``update`` creates the tables, and Feast's own tables are not used."""
        return []

    def _stored_values(
        self, config: RepoConfig, table: FeatureView, keys: list[bytes]
    ) -> dict[bytes, tuple[int, dict[str, Value]]]:
        """Return the event and the values by feature of each of ``keys`` that is stored."""
        connection = self.connection(config)
        found: dict[bytes, tuple[int, dict[str, Value]]] = {}
        layouts: dict[int, list[str]] = {}
        for start in range(0, len(keys), KEYS_OF_ONE_QUERY):
            part = keys[start : start + KEYS_OF_ONE_QUERY]
            rows = connection.execute(
                f"SELECT entity_key, layout, features, event_ts FROM {_table(config, table)}"
                f" WHERE entity_key IN ({', '.join('?' * len(part))})",
                part,
            ).fetchall()
            for key, layout, features, event in rows:
                if layout not in layouts:
                    layouts[layout] = _features_of(connection, layout)
                values = RepeatedValue.FromString(features).val
                found[key] = (event, dict(zip(layouts[layout], values, strict=True)))
        return found

    @contextmanager
    def _writing(self, config: RepoConfig) -> Iterator[sqlite3.Connection]:
        connection = self.connection(config)
        # IMMEDIATE takes the write lock at once, so that the busy timeout covers the wait for it
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            yield connection

    def open_connection(self, path: str, config: RepoConfig) -> sqlite3.Connection:
        """Open the SQLite file at ``path`` in WAL mode.

        Raises:
            LifecycleError: the configuration asks for vector or text search.
        """
        settings = config.online_store
        if settings.vector_enabled or settings.text_search_enabled:
            raise LifecycleError(
                "the guarded online store has no vector or text search; set vector_enabled and"
                " text_search_enabled to false in feature_store.yaml, or name another online store"
            )
        return _connect(path, settings.busy_seconds)


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
    # with WAL, a power cut can lose the last transactions, which a rerun restores; it cannot corrupt the file
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _table(config: RepoConfig, table: FeatureView) -> str:
    name = compute_table_id(config.project, table, config.registry.enable_online_feature_view_versioning)
    # a suffix: files of earlier versions hold tables of Feast's layout under the plain name
    return '"' + str(name).replace('"', '""') + '_rows"'


def _upsert(connection: sqlite3.Connection, table: str, rows: Iterable[StoredRow]) -> None:
    connection.executemany(
        f"""
        INSERT INTO {table} AS stored (entity_key, layout, features, event_ts, created_ts)
        VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (entity_key) DO UPDATE
        SET layout = excluded.layout, features = excluded.features,
            event_ts = excluded.event_ts, created_ts = excluded.created_ts
        WHERE (excluded.event_ts, coalesce(excluded.created_ts, excluded.event_ts))
           >= (stored.event_ts, coalesce(stored.created_ts, stored.event_ts))""",
        rows,
    )


def _layout(connection: sqlite3.Connection, names: tuple[str, ...]) -> int:
    """Return the layout number of rows with the features ``names`` in this order; add the layout if it is new."""
    written = json.dumps(names)
    connection.execute(f"INSERT OR IGNORE INTO {LAYOUTS} (features) VALUES (?)", (written,))
    (number,) = connection.execute(f"SELECT layout FROM {LAYOUTS} WHERE features = ?", (written,)).fetchone()
    return int(number)


def _features_of(connection: sqlite3.Connection, layout: int) -> list[str]:
    (written,) = connection.execute(f"SELECT features FROM {LAYOUTS} WHERE layout = ?", (layout,)).fetchone()
    names: list[str] = json.loads(written)
    return names


def _refuse_other_keys(config: RepoConfig) -> None:
    version = config.entity_key_serialization_version
    if version != KEY_VERSION:
        raise LifecycleError(
            f"entity_key_serialization_version is {version} in feature_store.yaml; the guarded online store writes"
            f" version {KEY_VERSION} only, set that"
        )


def _refuse_incomplete(view: FeatureView, rows: pa.Table, event: str) -> None:
    wanted = [field.name for field in (*view.entity_columns, *view.features)] + [event]
    missing = sorted(set(wanted) - set(rows.column_names))
    if missing:
        raise LifecycleError(f"{view.name}: rows to write online lack the columns {missing}")
    for field in view.entity_columns:
        nulls = rows.column(field.name).null_count
        if nulls:
            raise LifecycleError(f"{view.name}: join key {field.name!r} is null in {nulls} rows to write online")


def _since_epoch(instant: datetime) -> int:
    aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return (aware - EPOCH) // timedelta(microseconds=1)


def _microseconds(instants: pa.ChunkedArray) -> list[int]:
    if instants.null_count:
        raise LifecycleError(f"{instants.null_count} rows to write online have no instant; drop them first")
    unit = pa.timestamp("us", instants.type.tz)
    result: list[int] = instants.cast(unit, safe=False).cast(pa.int64()).to_pylist()
    return result
