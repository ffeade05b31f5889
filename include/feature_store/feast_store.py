"""The Feast store of one use case: open it, apply definitions, materialize features, look features up.

Feast's project is the name of the use case. Nothing here depends on the features of a use case: definitions come
from ``feast_repo/``, tables from the lake.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from numbers import Integral
from typing import Any

import pandas as pd
import pyarrow as pa
from deltalake import DeltaTable
from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    FileSource,
    OnDemandFeatureView,
    RepoConfig,
    ValueType,
)
from feast.data_source import DataSource
from feast.errors import FeastObjectNotFoundException
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]
from sqlalchemy import create_engine

from include.core import database_lock, fault_points, yaml_file
from include.core.engine import kept_open
from include.core.errors import LifecycleError, SpecError
from include.core.repository import REPOSITORY
from include.core.settings import Settings
from include.feature_store import declared_types
from include.feature_store.feast_private import online_rows, source_columns
from include.feature_store.history import find
from include.feature_store.online_store import GuardedSqliteOnlineStore

CONFIGURATION = REPOSITORY / "feast_repo" / "feature_store.yaml"

Definition = Entity | FeatureView | FeatureService | OnDemandFeatureView | DataSource


def open_store(settings: Settings, use_case: str, tables: Mapping[str, DeltaTable] | None = None) -> FeatureStore:
    """Open the Feast store of ``use_case``, as ``feast_repo/feature_store.yaml`` describes it.

    Args:
        settings: addresses and limits to fill in.
        use_case: name of the use case; the Feast project.
        tables: opened Delta tables, by address. The store reads them at the version that they were opened at, so
            that a step reads what it records, and refuses a view at any other address. Without them it reads the
            newest version at whatever address the registry names.
    """
    values = {
        "LIFECYCLE_USE_CASE": use_case,
        "LIFECYCLE_FEAST_REGISTRY": settings.feast_registry,
        "LIFECYCLE_ONLINE_STORE": settings.online_store,
        "LIFECYCLE_THREADS": str(settings.threads),
        "LIFECYCLE_MEMORY_LIMIT": settings.memory_limit,
    }
    configuration = _filled(yaml_file.parse(CONFIGURATION.read_text(encoding="utf-8")), values)
    configuration["offline_store"]["tables"] = None if tables is None else dict(tables)
    store = FeatureStore(config=RepoConfig(**configuration))
    # Feast creates the tables of the registry when it first opens it, and fails if two processes do so at once
    with _alone(settings.feast_registry):
        store.registry.list_projects()
    return store


def apply_definitions(store: FeatureStore, definitions: Sequence[Definition]) -> bool:
    """Apply ``definitions`` to the registry if they differ from it; other definitions in it stay.

    Returns:
        True if something was applied.

    Raises:
        LifecycleError: the registry, read back, differs from what was applied; or a definition is an
            on-demand view, whose function Feast would pickle into the registry.
        SpecError: the declared type of a field is not the type of its column.
    """
    if not register(store, definitions):
        _create_online_tables(store, definitions)
        return False
    return True


def register(store: FeatureStore, definitions: Sequence[Definition]) -> bool:
    """Do as ``apply_definitions``, but leave the online store alone if nothing differs: to read offline needs none."""
    pickled = [each.name for each in definitions if isinstance(each, OnDemandFeatureView)]
    if pickled:
        raise LifecycleError(
            f"on-demand feature views {pickled} are not supported: Feast keeps their functions pickled in its"
            " registry; compute them in the use case's SQL"
        )
    _refuse_other_types(store, definitions)
    with _alone(str(store.config.registry.path)):
        store.refresh_registry()  # type: ignore[no-untyped-call]
        if not _differing(store, definitions):
            return False
        store.apply(list(definitions))
        store.refresh_registry()  # type: ignore[no-untyped-call]
        differing = _differing(store, definitions)
    if differing:
        raise LifecycleError(
            f"the Feast registry of project {store.project!r} does not hold what was applied:"
            f" {', '.join(differing)}; look for another code version applying the same project"
        )
    return True


def registered_views(settings: Settings, use_case: str) -> list[str] | None:
    """Return the views of a use case in Feast's registry; None if the registry has no project of that name."""
    store = open_store(settings, use_case)
    if use_case not in {project.name for project in store.registry.list_projects()}:
        return None
    return sorted(view.name for view in store.list_feature_views())


def remove_project(settings: Settings, use_case: str) -> None:
    """Remove a use case's project from the registry, and the online values of its views."""
    store = open_store(settings, use_case)
    with _alone(str(store.config.registry.path)):
        store.refresh_registry()  # type: ignore[no-untyped-call]
        all_of_it: list[Any] = [*store.list_feature_services(), *store.list_feature_views(), *store.list_entities()]
        # the tables of the online store go with the views
        store.apply([], objects_to_delete=all_of_it, partial=False)
        store.registry.delete_project(use_case)


def materialize(
    store: FeatureStore, views: Sequence[str], first_instant: datetime, last_instant: datetime
) -> dict[str, int]:
    """Write the latest values with an event in ``[first_instant, last_instant]`` to the online store.

    Safe beside other processes and in any order: the online store keeps the newer value of each key. Unlike
    ``feast materialize`` it writes no state into the registry: parallel writers would overwrite each other's
    state there, and it would grow with every partition.

    Args:
        views: names of feature views.
        first_instant, last_instant: aware instants, both included.

    Returns:
        Number of keys offered to the online store, by view.
    """
    for instant in (first_instant, last_instant):
        if instant.tzinfo is None:
            raise LifecycleError(f"materialize: {instant} has no time zone; give the partition's clock")
    with kept_open():
        return {name: _materialize_view(store, name, first_instant, last_instant) for name in views}


def historical_features(store: FeatureStore, service: str, entity_rows: pa.Table) -> pa.Table:
    """Look up the features of ``service`` as they were known at each entity row's ``event_timestamp``.

    Args:
        entity_rows: join keys, ``event_timestamp`` (UTC) and any further columns.

    Returns:
        ``entity_rows`` unchanged and in their order, followed by one column for each feature, in the order of
        the service; null where nothing usable was known.
    """
    job = store.get_historical_features(entity_df=entity_rows, features=_service(store, service))
    return job.to_arrow()


def online_features(
    store: FeatureStore, service: str, keys: Mapping[str, Sequence[Any]], instant: datetime
) -> pa.Table:
    """Look up the features of ``service`` in the online store.

    Args:
        service: name of the feature service.
        keys: the values of each join key; all of one length, none of them null.
        instant: the instant, with its zone, for which the features are asked: now, where requests are served.

    Returns:
        One row for each key: the join keys, then the features; null where the store has none, or has one that is older
        at ``instant`` than the lifetime of its view.

    Raises:
        LifecycleError: a key is null or not of the declared type, or ``instant`` has no zone.
    """
    if instant.tzinfo is None:
        raise LifecycleError(f"online_features: {instant} has no time zone; give an instant in UTC")
    asked = _service(store, service)
    views = {each.name: store.get_feature_view(each.name) for each in asked.feature_view_projections}
    for projection in asked.feature_view_projections:
        for field in views[projection.name].entity_columns:
            key = projection.join_key_map.get(field.name, field.name)
            _refuse_other_keys(key, field.dtype.to_value_type(), keys.get(key, ()))
    response = store.get_online_features(
        features=asked, entity_rows={name: list(values) for name, values in keys.items()}
    )
    lifetimes = {
        feature.name: views[projection.name].ttl
        for projection in asked.feature_view_projections
        for feature in projection.features
    }
    found = response.to_dict()
    for name, column in zip(response.proto.metadata.feature_names.val, response.proto.results, strict=True):
        if lifetime := lifetimes.get(name):
            events = [stamp.ToDatetime(UTC) for stamp in column.event_timestamps]
            found[name] = [
                value if event >= instant - lifetime else None for value, event in zip(found[name], events, strict=True)
            ]
    return pa.table(found)


def _refuse_other_keys(name: str, kind: ValueType, values: Sequence[Any]) -> None:
    """Refuse a key that Feast would convert: 5.7 or "5" to the entity 5, a float beyond 2^53 to its neighbour."""
    expected = {ValueType.INT32: Integral, ValueType.INT64: Integral, ValueType.STRING: str}.get(kind, object)
    for value in values:
        if pd.isna(value):
            raise LifecycleError(f"join key {name!r} is null; leave out the entities that are not known")
        if not isinstance(value, expected) or (expected is Integral and isinstance(value, bool)):
            raise LifecycleError(
                f"join key {name!r} is {kind.name}, but {value!r} is {type(value).__name__}; ask with the exact key (in"
                " pandas, integers with missing values need the type Int64)"
            )


def _service(store: FeatureStore, name: str) -> FeatureService:
    known = [service.name for service in store.list_feature_services()]
    if name not in known:
        raise LifecycleError(
            f"project {store.project!r} has no feature service {name!r} but {known}; apply the definitions first"
        )
    return store.get_feature_service(name)


def _materialize_view(store: FeatureStore, name: str, first: datetime, last: datetime) -> int:
    view = store.get_feature_view(name)
    entities = [store.get_entity(entity) for entity in view.entities]
    keys, features, event, created = source_columns(view, entities)
    source = view.batch_source
    if source is None:
        raise LifecycleError(f"feature view {name!r} has no batch source; give it a Delta FileSource")
    rows = store.provider.offline_store.pull_latest_from_table_or_query(
        config=store.config,
        data_source=source,
        join_key_columns=keys,
        feature_name_columns=features,
        timestamp_field=event,
        created_timestamp_column=created,
        start_date=first,
        end_date=last,
    ).to_arrow()
    fault_points.reached("materialize.before_write", name)
    rows = rows.rename_columns([source.field_mapping.get(column, column) for column in rows.column_names])
    _write_online(store, view, rows)
    return len(rows)


def _write_online(store: FeatureStore, view: FeatureView, rows: pa.Table) -> None:
    online = store.provider.online_store
    if isinstance(online, GuardedSqliteOnlineStore):
        online.write_table(store.config, view, rows)
    elif len(rows):
        offered = online_rows(rows, view)
        # in most stores the last writer wins, and a backfill writes old values last: leave those out
        stored = online.online_read(store.config, view, [key for key, *_ in offered])
        wanted = [
            row for row, (event, _) in zip(offered, stored, strict=True) if event is None or _utc(event) <= _utc(row[2])
        ]
        online.online_write_batch(store.config, view, wanted, None)


def _utc(instant: datetime) -> datetime:
    """Return ``instant`` with its zone; Feast means UTC where there is none."""
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant


def _refuse_other_types(store: FeatureStore, definitions: Sequence[Definition]) -> None:
    """Compare declared types with those of the tables that are published; the others are compared once they are."""
    opened = store.config.offline_store.tables
    faults: list[str] = []
    for view in definitions:
        if isinstance(view, FeatureView) and isinstance(source := view.batch_source, FileSource):
            table = find(source.path) if opened is None else opened.get(source.path)
            if table is not None:
                faults += declared_types.faults(view, pa.schema(table.schema().to_arrow()))
    if faults:
        raise SpecError(faults)


def _create_online_tables(store: FeatureStore, definitions: Sequence[Definition]) -> None:
    """Create missing tables of the online store, which may be newer than the registry, as after a restore."""
    views = [each for each in definitions if isinstance(each, FeatureView)]
    store.provider.update_infra(store.project, [], views, [], [], partial=True)


def _filled(node: Any, values: Mapping[str, str]) -> Any:
    """Replace ``${NAME}`` in ``node`` of the parsed YAML; after parsing, so that no value is read as YAML."""
    if isinstance(node, dict):
        return {key: _filled(child, values) for key, child in node.items()}
    return string.Template(node).substitute(values) if isinstance(node, str) else node


@contextmanager
def _alone(registry: str) -> Iterator[None]:
    """Hold the lock under which processes change the registry at the address ``registry``."""
    engine = create_engine(registry)
    try:
        # one lock for all use cases, since they share the tables of the registry
        with database_lock.held(engine, "feast registry"):
            yield
    finally:
        engine.dispose()


def _differing(store: FeatureStore, definitions: Sequence[Definition]) -> list[str]:
    return [
        f"{type(definition).__name__} {definition.name!r}"
        for definition in definitions
        if not _says_the_same(definition, _registered(store, definition))
    ]


def _registered(store: FeatureStore, definition: Definition) -> Definition | None:
    try:
        if isinstance(definition, Entity):
            return store.registry.get_entity(definition.name, store.project)
        if isinstance(definition, FeatureView):
            return store.registry.get_feature_view(definition.name, store.project)
        if isinstance(definition, FeatureService):
            return store.registry.get_feature_service(definition.name, store.project)
        return store.registry.get_data_source(definition.name, store.project)
    except FeastObjectNotFoundException:
        return None


def _says_the_same(definition: Definition, registered: Definition | None) -> bool:
    if registered is None:
        return False
    ours, theirs = (_without_meta(MessageToDict(each.to_proto())) for each in (definition, registered))
    for inferred in ("entityColumns", "features"):
        # Feast infers these fields from the table if a definition leaves them out
        if inferred not in ours.get("spec", {}):
            theirs.get("spec", {}).pop(inferred, None)
    return bool(ours == theirs)


def _without_meta(node: Any) -> Any:
    """Return ``node`` without the fields that Feast adds at registration: timestamps, states, version numbers."""
    if isinstance(node, dict):
        return {key: _without_meta(child) for key, child in node.items() if key != "meta"}
    return [_without_meta(child) for child in node] if isinstance(node, list) else node
