"""Feast's offline store over the lake: point-in-time joins by DuckDB on Delta tables.

``feature_store.yaml`` names :class:`AsofOfflineStore` by its class path; Feast finds the config class by name.
Sources are ``FileSource(path=<Delta address>, file_format=DeltaFormat(), ...)``. Feast lets the caller choose whether
a row created after the entity's instant may be used. This store never uses one: it was not known yet.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from feast.data_format import DeltaFormat
from feast.data_source import DataSource
from feast.feature_logging import LoggingConfig, LoggingSource
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL, FeatureView
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from feast.saved_dataset import SavedDatasetStorage
from pydantic import Field

from include.core.engine import engine
from include.core.errors import LifecycleError
from include.feature_store.feast_private import requested_features
from include.feature_store.history import History
from include.feature_store.point_in_time import all_values, latest_values, values_as_of

EVENT_TIMESTAMP = "event_timestamp"
INSTANT = pa.timestamp("us", "UTC")


class AsofOfflineStoreConfig(FeastConfigBaseModel):
    """``offline_store`` of ``feature_store.yaml``.

    Attributes:
        threads: threads of one query.
        memory_limit: memory that DuckDB may hold before it spills to disk.
        temp_directory: folder to spill to; none for the temporary folder of the system.
        tables: Delta tables that the caller has opened, by address; they are read at the version that they were
            opened at, and no other table is read. Without them, each query opens the newest version of the table
            that the registry names. Only code sets this.
        later: Arrow schema of the newest version of each table, by address; columns added since then are null.
    """

    type: Literal["include.feature_store.offline_store.AsofOfflineStore"] = (
        "include.feature_store.offline_store.AsofOfflineStore"
    )
    threads: int = 1
    memory_limit: str = "2GB"
    temp_directory: str | None = None
    tables: dict[str, DeltaTable] | None = Field(default=None, exclude=True, repr=False)
    later: dict[str, Any] = Field(default={}, exclude=True, repr=False)

    def table(self, name: str, uri: str) -> DeltaTable | None:
        """Return the opened table at ``uri``, from which the view or source ``name`` is read; ``None`` to open it.

        Raises:
            LifecycleError: the caller has opened other tables. The registry may name another lake: that of another
                deployment, or the address that the lake had before it was copied, restored or moved.
        """
        if self.tables is None:
            return None
        if uri not in self.tables:
            opened = f"unlike {min(self.tables)}" if self.tables else "since none is published"
            raise LifecycleError(
                f"{name}: Feast's registry names the table {uri}, which this step did not open, {opened}. Run the task"
                " again, which registers the addresses of its own lake; if it fails again, another deployment uses the"
                " same registry: give each lake its own LIFECYCLE_FEAST_REGISTRY"
            )
        return self.tables[uri]


class AsofRetrievalJob(RetrievalJob):
    """A retrieval that runs each time its result is asked for."""

    def __init__(
        self,
        config: AsofOfflineStoreConfig,
        query: Callable[[duckdb.DuckDBPyConnection], pa.Table],
        metadata: RetrievalMetadata | None = None,
        full_feature_names: bool = False,
    ) -> None:
        self._config = config
        self._query = query
        self._metadata = metadata
        self._full_feature_names = full_feature_names

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        config = self._config
        with (
            engine(config.threads, config.memory_limit, config.temp_directory, ordered=False) as connection,
            _interrupted_after(connection, timeout),
        ):
            return self._query(connection)

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return self._to_arrow_internal(timeout).to_pandas()

    @property
    def full_feature_names(self) -> bool:
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return []  # they are refused before a job is created

    @property
    def metadata(self) -> RetrievalMetadata | None:
        return self._metadata

    def to_sql(self) -> str:
        """Refuse: there is no single query."""
        raise LifecycleError("this retrieval is several queries, one a feature view; use to_arrow() or to_df()")

    def persist(self, storage: SavedDatasetStorage, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Refuse: Feast must not write the lake."""
        raise _read_only("saving a dataset")


class AsofOfflineStore(OfflineStore):
    """The store that reads features as of an instant. It writes nothing: only audited publishes change the lake."""

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | pa.Table | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = True,
        **window: Any,
    ) -> RetrievalJob:
        """Return the job that looks up ``feature_refs`` as they were known at each entity row's instant.

        Args:
            entity_df: entity rows, as pandas or Arrow, with the join keys and the instant in ``event_timestamp`` (or
                in their only timestamp column). Instants without a time zone are UTC.
            filter_by_created_timestamp: has no effect, it is always on.

        Returns:
            A lazy job. Its table has every entity row once and in order, with its columns unchanged,
            then the features; null where nothing usable was known.

        Raises:
            LifecycleError: the entity rows are SQL, absent, lack a column, have null instants or
                already have a column with a feature's name; or an on-demand view is asked for.
        """
        rows = _entity_rows(entity_df)
        instant = _instant_column(rows)
        _refuse_on_demand(OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry))
        histories = [
            _view_history(config.offline_store, view, features, full_feature_names)
            for view, features in requested_features(feature_refs, feature_views).items()
        ]
        narrow = _narrow(rows, instant, histories)
        extremes = pc.min_max(narrow.column(instant))

        def query(connection: duckdb.DuckDBPyConnection) -> pa.Table:
            result = rows
            for history in histories:
                values = values_as_of(connection, narrow, instant, history)
                for name in values.column_names:
                    result = result.append_column(name, values.column(name))
            return result

        metadata = RetrievalMetadata(
            features=feature_refs,
            keys=[name for name in rows.column_names if name != instant],
            min_event_timestamp=extremes["min"].as_py(),
            max_event_timestamp=extremes["max"].as_py(),
        )
        return AsofRetrievalJob(config.offline_store, query, metadata, full_feature_names)

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """Return the job that reads the latest row of each key with an event in ``[start_date, end_date]``."""
        history = _source_history(
            config.offline_store,
            data_source,
            join_key_columns,
            feature_name_columns,
            timestamp_field,
            created_timestamp_column,
        )

        def query(connection: duckdb.DuckDBPyConnection) -> pa.Table:
            return _keyed(latest_values(connection, history, start_date, end_date), join_key_columns)

        return AsofRetrievalJob(config.offline_store, query)

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """Return the job that reads every row with an event in ``[start_date, end_date]``; an absent bound is open."""
        history = _source_history(
            config.offline_store,
            data_source,
            join_key_columns,
            feature_name_columns,
            timestamp_field,
            created_timestamp_column,
        )

        def query(connection: duckdb.DuckDBPyConnection) -> pa.Table:
            return _keyed(all_values(connection, history, start_date, end_date), join_key_columns)

        return AsofRetrievalJob(config.offline_store, query)

    @staticmethod
    def offline_write_batch(
        config: RepoConfig, feature_view: FeatureView, table: pa.Table, progress: Callable[[int], Any] | None
    ) -> None:
        """Refuse: Feast must not write the lake."""
        raise _read_only(f"writing to feature view {feature_view.name!r}")

    @staticmethod
    def write_logged_features(
        config: RepoConfig,
        data: pa.Table | Path,
        source: LoggingSource,
        logging_config: LoggingConfig,
        registry: BaseRegistry,
    ) -> None:
        """Refuse: Feast must not write the lake."""
        raise _read_only("logging served features")


def _refuse_on_demand(views: list[OnDemandFeatureView]) -> None:
    names = sorted(view.name for view in views)
    if names:
        raise LifecycleError(
            f"on-demand feature views {names} are not supported: Feast keeps their functions pickled in its"
            " registry; compute them in the use case's SQL"
        )


def _read_only(what: str) -> LifecycleError:
    return LifecycleError(
        f"{what} through Feast is not supported: the lake takes only audited publishes; write with include/lake/lake.py"
    )


@contextmanager
def _interrupted_after(connection: duckdb.DuckDBPyConnection, seconds: int | None) -> Iterator[None]:
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, connection.interrupt)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _entity_rows(entity_df: pd.DataFrame | pa.Table | str | None) -> pa.Table:
    if isinstance(entity_df, pa.Table):
        return entity_df
    if isinstance(entity_df, pd.DataFrame):
        return pa.Table.from_pandas(entity_df, preserve_index=False)
    if entity_df is None:
        raise LifecycleError(
            "retrieval over a date range without entity rows is not supported; pass entity rows, or read the"
            " feature table itself with include/lake/lake.py"
        )
    raise LifecycleError(
        f"entity rows given as {type(entity_df).__name__} are not supported; pass a pandas DataFrame or an"
        " Arrow table (run the SQL first)"
    )


def _instant_column(rows: pa.Table) -> str:
    if EVENT_TIMESTAMP in rows.column_names:
        return EVENT_TIMESTAMP
    candidates = [field.name for field in rows.schema if pa.types.is_timestamp(field.type)]
    if len(candidates) == 1:
        return str(candidates[0])
    raise LifecycleError(
        f"entity rows have {len(candidates)} timestamp columns {candidates} and none is"
        f" {EVENT_TIMESTAMP!r}; name the one with the instants so"
    )


def _narrow(rows: pa.Table, instant: str, histories: list[History]) -> pa.Table:
    """Select the keys and the instant (UTC, microseconds): the SQL needs no other column."""
    keys = {name for history in histories for _, name in history.keys}
    missing = sorted(keys - set(rows.column_names))
    if missing:
        raise LifecycleError(f"entity rows lack the join keys {missing}; they have {rows.column_names}")
    taken = set(rows.column_names) & {name for history in histories for _, name in history.values}
    if taken:
        raise LifecycleError(
            f"entity rows already have columns named like features: {sorted(taken)}; drop or rename them,"
            " or ask for full_feature_names"
        )
    instants = _utc(rows.column(instant), instant)
    return pa.table({**{key: rows.column(key) for key in sorted(keys)}, instant: instants})


def _utc(instants: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    if not pa.types.is_timestamp(instants.type):
        raise LifecycleError(f"entity column {name!r} is {instants.type}, not a timestamp; convert it to UTC instants")
    if instants.null_count:
        raise LifecycleError(f"entity column {name!r} is null in {instants.null_count} rows; drop them first")
    if instants.type.tz is None:
        instants = pc.assume_timezone(instants, "UTC")
    # the history has whole microseconds: cutting off the rest changes no comparison with it
    return instants.cast(INSTANT, safe=False)


def _view_history(
    config: AsofOfflineStoreConfig, view: FeatureView, features: list[str], full_feature_names: bool
) -> History:
    source = view.batch_source
    if source is None:
        raise LifecycleError(f"feature view {view.name!r} has no batch source; give it a Delta FileSource")
    column = {new: old for old, new in source.field_mapping.items()}
    prefix = f"{view.projection.name_alias or view.name}__" if full_feature_names else ""
    renamed = view.projection.join_key_map
    keys = [field.name for field in view.entity_columns if field.name != DUMMY_ENTITY_ID]
    return History(
        name=view.name,
        uri=_delta_address(source),
        keys=tuple((column.get(key, key), renamed.get(key, key)) for key in keys),
        values=tuple((column.get(name, name), prefix + name) for name in features),
        event=column.get(source.timestamp_field, source.timestamp_field),
        created=column.get(source.created_timestamp_column, source.created_timestamp_column) or None,
        lifetime=view.ttl or None,
        table=config.table(view.name, _delta_address(source)),
        later=config.later.get(_delta_address(source)),
    )


def _source_history(
    config: AsofOfflineStoreConfig,
    source: DataSource,
    keys: list[str],
    features: list[str],
    event: str,
    created: str | None,
) -> History:
    uri = _delta_address(source)
    return History(
        name=source.name,
        uri=uri,
        keys=tuple((key, key) for key in keys),
        values=tuple((name, name) for name in features),
        event=event,
        created=created or None,
        table=config.table(source.name, uri),
        later=config.later.get(uri),
    )


def _delta_address(source: DataSource) -> str:
    if isinstance(source, FileSource) and isinstance(source.file_format, DeltaFormat):
        return str(source.path)
    raise LifecycleError(
        f"source {source.name!r} is not a Delta table; declare FileSource(path=..., file_format=DeltaFormat(), ...)"
    )


def _keyed(table: pa.Table, join_keys: list[str]) -> pa.Table:
    """Add the placeholder key under which Feast stores a view without entities, if there is no join key."""
    if join_keys:
        return table
    return table.append_column(DUMMY_ENTITY_ID, pa.array([DUMMY_ENTITY_VAL] * len(table), pa.string()))
