"""The Feast definition of each view has the columns that its SQL gives."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest
from feast import FeatureService, FeatureView, FileSource

from feast_repo.flights import ENTITIES, NOT_SERVED, VIEWS, definitions
from include.core.partitions import Span
from include.feature_store import feature_sql
from tests.unit.flights_case import FLIGHTS, connection, land, source

DUCKDB_TYPES = {"Float32": "FLOAT", "Int64": "BIGINT", "String": "VARCHAR"}
STAMPS = {"event_timestamp": "TIMESTAMP WITH TIME ZONE", "created_timestamp": "TIMESTAMP WITH TIME ZONE"}


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with connection() as con:
        land(con, source(), "2013-01-02", "2013-01-02")
        yield con


def feature_views(use_case: str) -> dict[str, FeatureView]:
    found = definitions(use_case, lambda view: f"/lake/{use_case}/features/{view}")
    return {item.tags["view"]: item for item in found if isinstance(item, FeatureView)}


def test_each_feature_sql_has_a_view() -> None:
    assert sorted(VIEWS) == feature_sql.views(FLIGHTS)


@pytest.mark.parametrize("view", sorted(VIEWS))
def test_fields_are_the_columns_of_the_sql(con: duckdb.DuckDBPyConnection, view: str) -> None:
    query = feature_sql.compute(con, FLIGHTS, Span.one("2013-01-02"))[view]
    columns = {row[0]: row[1] for row in con.execute(f"DESCRIBE {query}").fetchall()}
    defined = feature_views("flights")[view]
    told = {field.name: DUCKDB_TYPES[str(field.dtype)] for field in defined.entity_columns + defined.features}
    assert {"ds": "VARCHAR"} | told | STAMPS == columns
    assert list(defined.join_keys) == VIEWS[view][0]
    assert all(field.description for field in defined.features)


def test_no_two_features_share_a_name() -> None:
    names = [field.name for _, _, fields in VIEWS.values() for field in fields]
    assert len(names) == len(set(names))
    assert not set(names) & {"distance", "sched_dep_minute_of_day", "sched_arr_minute_of_day", *ENTITIES}


def test_the_service_offers_every_feature_but_those_left_out() -> None:
    service = definitions("flights", str)[-1]
    assert isinstance(service, FeatureService)
    served = {feature.name for part in service.feature_view_projections for feature in part.features}
    left_out = {name for names in NOT_SERVED.values() for name in names}
    assert served == {field.name for _, _, fields in VIEWS.values() for field in fields} - left_out
    assert left_out == {"month"}


def test_two_use_cases_share_entities_and_nothing_else() -> None:
    flights, live = ({item.name for item in definitions(use_case, str)} for use_case in ("flights", "flights_live"))
    assert flights & live == set(ENTITIES)
    assert "flights_live_v1" in live
    calendar = feature_views("flights_live")["calendar"].batch_source
    assert isinstance(calendar, FileSource)
    assert calendar.path == "/lake/flights_live/features/calendar"
