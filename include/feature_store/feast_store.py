"""One use case's Feast store: definitions applied, features materialized and looked up.

Feast's project is the use case's name. Nothing here knows which features there are: definitions come
from ``feast_repo/``, tables from ``include/lake/lake.py``.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from feast import Entity, FeatureService, FeatureStore, FeatureView, OnDemandFeatureView, RepoConfig
from feast.data_source import DataSource
from feast.errors import FeastObjectNotFoundException
from feast.utils import _convert_arrow_to_proto, _get_column_names
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]
from sqlalchemy import create_engine

from include.core import database_lock, yaml_file
from include.core.engine import kept_open
from include.core.errors import LifecycleError
from include.core.repository import REPOSITORY
from include.core.settings import Settings
from include.feature_store.online_store import GuardedSqliteOnlineStore

CONFIGURATION = REPOSITORY / "feast_repo" / "feature_store.yaml"

Definition = Entity | FeatureView | FeatureService | OnDemandFeatureView | DataSource


def open_store(settings: Settings, use_case: str, table_versions: Mapping[str, int] | None = None) -> FeatureStore:
    """The Feast store of ``use_case``, as ``feast_repo/feature_store.yaml`` describes it.

    Args:
        settings: addresses and limits to fill in.
        use_case: name of the use case; the Feast project.
        table_versions: Delta version to read, by table address, so that a training set can be looked
            up again as it was; other tables are read as of now.
    """
    values = {
        "LIFECYCLE_USE_CASE": use_case,
        "LIFECYCLE_FEAST_REGISTRY": settings.feast_registry,
        "LIFECYCLE_ONLINE_STORE": settings.online_store,
        "LIFECYCLE_THREADS": str(settings.threads),
        "LIFECYCLE_MEMORY_LIMIT": settings.memory_limit,
    }
    configuration = _filled(yaml_file.parse(CONFIGURATION.read_text()), values)
    configuration["offline_store"]["table_versions"] = dict(table_versions or {})
    store = FeatureStore(config=RepoConfig(**configuration))
    # Feast creates the registry's tables when it first opens it, and fails if two processes do at once
    with _alone(settings.feast_registry):
        store.registry.list_projects()
    return store


def apply_definitions(store: FeatureStore, definitions: Sequence[Definition]) -> bool:
    """Make the registry hold ``definitions``; what else it holds stays.

    Returns:
        Whether anything had to be applied.

    Raises:
        LifecycleError: after applying, the registry holds something else; or a definition is an
            on-demand view, whose function Feast would pickle into the registry.
    """
    pickled = [each.name for each in definitions if isinstance(each, OnDemandFeatureView)]
    if pickled:
        raise LifecycleError(
            f"on-demand feature views {pickled} are not supported: Feast keeps their functions pickled in its"
            " registry; compute them in the use case's SQL"
        )
    with _alone(str(store.config.registry.path)):
        store.refresh_registry()  # type: ignore[no-untyped-call]
        if not _differing(store, definitions):
            _create_online_tables(store, definitions)
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


def materialize(
    store: FeatureStore, views: Sequence[str], first_instant: datetime, last_instant: datetime
) -> dict[str, int]:
    """Bring the online store up to the latest values with an event in ``[first_instant, last_instant]``.

    Safe beside other runs and in any order: the online store keeps the newer value of each key. Unlike
    ``feast materialize`` it writes no state into the registry, which runs in parallel would overwrite
    for one another and which would grow with every partition; the lake's publish records say what
    was materialized from.

    Args:
        views: names of feature views.
        first_instant, last_instant: aware instants, both included.

    Returns:
        The number of keys considered, by view.
    """
    for instant in (first_instant, last_instant):
        if instant.tzinfo is None:
            raise LifecycleError(f"materialize: {instant} has no time zone; give the partition's clock")
    with kept_open():
        return {name: _materialize_view(store, name, first_instant, last_instant) for name in views}


def historical_features(store: FeatureStore, service: str, entity_rows: pa.Table) -> pa.Table:
    """What the features of ``service`` were at each entity row's ``event_timestamp``.

    Args:
        entity_rows: join keys, ``event_timestamp`` (UTC) and any further columns.

    Returns:
        ``entity_rows`` as they are, in their order, followed by one column a feature, in the order of
        the service; null where nothing usable was known.
    """
    job = store.get_historical_features(entity_df=entity_rows, features=_service(store, service))
    return job.to_arrow()


def online_features(store: FeatureStore, service: str, keys: Mapping[str, Sequence[Any]]) -> pa.Table:
    """The features of ``service`` in the online store now.

    Args:
        keys: the values of each join key; all of one length.

    Returns:
        One row a key: the join keys, then the features; null where the store has none.
    """
    response = store.get_online_features(
        features=_service(store, service), entity_rows={name: list(values) for name, values in keys.items()}
    )
    return pa.table(response.to_dict())


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
    keys, features, event, created = _get_column_names(view, entities)
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
    rows = rows.rename_columns([source.field_mapping.get(column, column) for column in rows.column_names])
    _write_online(store, view, rows)
    return len(rows)


def _write_online(store: FeatureStore, view: FeatureView, rows: pa.Table) -> None:
    online = store.provider.online_store
    if isinstance(online, GuardedSqliteOnlineStore):
        online.write_table(store.config, view, rows)
    elif len(rows):
        keys = {field.name: field.dtype.to_value_type() for field in view.entity_columns}
        offered = _convert_arrow_to_proto(rows.combine_chunks(), view, keys)
        # most stores let the last writer win, and a backfill writes last
        stored = online.online_read(store.config, view, [key for key, *_ in offered])
        wanted = [
            row for row, (event, _) in zip(offered, stored, strict=True) if event is None or _utc(event) <= _utc(row[2])
        ]
        online.online_write_batch(store.config, view, wanted, None)


def _utc(instant: datetime) -> datetime:
    """An instant of Feast's: without a zone it means UTC."""
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant


def _create_online_tables(store: FeatureStore, definitions: Sequence[Definition]) -> None:
    """Create what the online store lacks: it may be newer than the registry, as after a restore."""
    views = [each for each in definitions if isinstance(each, FeatureView)]
    store.provider.update_infra(store.project, [], views, [], [], partial=True)


def _filled(node: Any, values: Mapping[str, str]) -> Any:
    """``node`` of the parsed YAML with ``${NAME}`` replaced; after parsing, so that no value can be YAML."""
    if isinstance(node, dict):
        return {key: _filled(child, values) for key, child in node.items()}
    return string.Template(node).substitute(values) if isinstance(node, str) else node


@contextmanager
def _alone(registry: str) -> Iterator[None]:
    """Hold off other processes that would change the registry at ``registry`` now."""
    engine = create_engine(registry)
    try:
        # one lock for all use cases: they share the registry's tables
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
        # Feast reads from the table what a definition leaves out
        if inferred not in ours.get("spec", {}):
            theirs.get("spec", {}).pop(inferred, None)
    return bool(ours == theirs)


def _without_meta(node: Any) -> Any:
    """``node`` without what Feast adds at registration: timestamps, states, version numbers."""
    if isinstance(node, dict):
        return {key: _without_meta(child) for key, child in node.items() if key != "meta"}
    return [_without_meta(child) for child in node] if isinstance(node, list) else node
