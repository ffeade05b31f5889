"""Generate the Feast definitions of a use case from its spec and its published feature tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.data_format import DeltaFormat
from feast.type_map import pa_to_feast_value_type
from feast.types import from_value_type

from include.core.errors import SpecError
from include.spec.use_case import UseCase

_EVENT, _CREATED = "event_timestamp", "created_timestamp"


def of_tables(case: UseCase, tables: Mapping[str, tuple[str, pa.Schema]]) -> list[Any]:
    """Return entities, one view a table, and the service of the spec over all features of all views.

    A key is an entity of its own name. Columns that are neither a key nor a time stamp are features, of the type that
    the table has.

    Args:
        case: the use case.
        tables: address and columns of the Delta table of each view.

    Raises:
        SpecError: Feast has no type for a column, or a key has one type in one view and another in another.
    """
    entities: dict[str, Entity] = {}
    views: list[Any] = []
    faults: list[str] = []
    for view, keys in sorted(case.features.views.items()):
        address, columns = tables[view]
        kinds, unknown = _kinds(columns)
        faults += [f"{case.name}: view {view}: {fault}" for fault in unknown]
        for key in keys:
            kind = kinds.get(key, ValueType.STRING)
            known = entities.setdefault(key, Entity(name=key, join_keys=[key], value_type=kind, owner=case.owner))
            if known.value_type != kind:
                faults.append(
                    f"{case.name}: key {key} is {kind.name} in view {view} and {known.value_type.name} in another; "
                    "cast it in the view's SQL"
                )
        views.append(_view(case, view, address, [entities[key] for key in keys], kinds))
    if faults:
        raise SpecError(faults)
    service = FeatureService(name=case.features.service, features=views, owner=case.owner, tags={"use_case": case.name})
    return [*entities.values(), *views, service]


def _kinds(columns: pa.Schema) -> tuple[dict[str, ValueType], list[str]]:
    """Return the Feast type of each key and feature, and the columns without one."""
    found, faults = {}, []
    for column in columns:
        if column.name in ("ds", _EVENT, _CREATED):
            continue
        try:
            found[column.name] = pa_to_feast_value_type(str(column.type))
        except (KeyError, ValueError):
            faults.append(f"Feast has no type for column {column.name} ({column.type}); cast it in the view's SQL")
    return found, faults


def _view(
    case: UseCase, view: str, address: str, entities: list[Entity], kinds: Mapping[str, ValueType]
) -> FeatureView:
    name = f"{case.name}_{view}"
    return FeatureView(
        name=name,
        source=FileSource(
            name=name,
            path=address,
            file_format=DeltaFormat(),
            timestamp_field=_EVENT,
            created_timestamp_column=_CREATED,
            owner=case.owner,
        ),
        schema=[Field(name=column, dtype=from_value_type(kind)) for column, kind in kinds.items()],
        entities=entities,
        ttl=case.period.length(case.features.lifetime_periods),
        online=True,
        owner=case.owner,
        tags={"use_case": case.name, "view": view},
    )
