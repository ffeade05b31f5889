"""The names of Feast that are private to it and that the feature store cannot do without.

No other module uses them, so that an upgrade of Feast is checked here: ``tests/unit/test_feast_private.py`` fails on
any other version than ``CHECKED_VERSION`` and shows how each name has to behave.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import TypeAlias

import pyarrow as pa
from feast import Entity, FeatureView
from feast.infra.online_stores.sqlite import SqliteOnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import RepoConfig
from feast.utils import _convert_arrow_to_proto, _get_column_names, _get_requested_feature_views_to_features_dict

CHECKED_VERSION = "0.67.0"
"""The version of Feast that the names were checked against."""

OnlineRow: TypeAlias = tuple[EntityKey, dict[str, Value], datetime, datetime | None]
"""One row for an online store: its key, its values by feature, and its event and created instants."""


def requested_features(references: list[str], views: list[FeatureView]) -> dict[FeatureView, list[str]]:
    """Return the features that ``references`` (``view:feature``) ask of each of ``views``, in their order."""
    requested: dict[FeatureView, list[str]]
    requested, _ = _get_requested_feature_views_to_features_dict(references, views, [])
    return requested


def source_columns(view: FeatureView, entities: list[Entity]) -> tuple[list[str], list[str], str, str | None]:
    """Return the columns of the view's source: join keys, features, event instant, created instant (or ``None``)."""
    columns: tuple[list[str], list[str], str, str | None] = _get_column_names(view, entities)
    return columns


def online_rows(rows: pa.Table, view: FeatureView) -> Sequence[OnlineRow]:
    """Convert ``rows``, which has at least one row, to what ``online_write_batch`` of an online store takes."""
    keys = {field.name: field.dtype.to_value_type() for field in view.entity_columns}
    # Feast converts the first chunk only
    converted: Sequence[OnlineRow] = _convert_arrow_to_proto(rows.combine_chunks(), view, keys)
    return converted


class ConnectedSqliteStore(SqliteOnlineStore):
    """Feast's SQLite store, over a connection that a subclass opens.

    Feast refuses a ``type`` in ``feature_store.yaml`` that does not end with ``SqliteOnlineStore``.
    """

    def connection(self, config: RepoConfig) -> sqlite3.Connection:
        """Return the connection of this store; open it at the first call. ``teardown`` closes it."""
        if self._conn is None:
            self._conn = self.open_connection(self._get_db_path(config), config)
        return self._conn

    def open_connection(self, path: str, config: RepoConfig) -> sqlite3.Connection:
        """Open the SQLite file at ``path``."""
        raise NotImplementedError

    def _get_conn(self, config: RepoConfig) -> sqlite3.Connection:
        return self.connection(config)
