"""Join keys are compared exactly or refused: beyond 2^53 neighbouring integers are one floating number."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, ValueType
from feast.types import Float64, Int64

from include.core.errors import LifecycleError
from include.feature_store.feast_store import (
    apply_definitions,
    historical_features,
    materialize,
    online_features,
    open_store,
)
from tests.unit.feast_case import CARRIER, INSTANT, clock, deployment, project, source, write_view

LARGE = 1234567890123456789
NEIGHBOUR = 1234567890123456768  # float(LARGE)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    flight = Entity(name="flight", join_keys=["flight"], value_type=ValueType.INT64)
    uri = write_view(tmp_path, "seats", {"flight": [LARGE, NEIGHBOUR, 5], "seats": [1.0, 2.0, 3.0], "day": [0, 0, 0]})
    view = FeatureView(
        name="seats",
        entities=[flight],
        ttl=timedelta(days=2),
        schema=[Field(name="flight", dtype=Int64), Field(name="seats", dtype=Float64)],
        source=source("seats", uri),
    )
    opened = open_store(deployment(tmp_path), "flights")
    apply_definitions(opened, [flight, view, FeatureService(name="seats_v1", features=[view])])
    materialize(opened, ["seats"], clock(0), clock(0))
    return opened


def offline(store: FeatureStore, keys: pa.Array) -> list[float | None]:
    rows = pa.table({"flight": keys, "event_timestamp": pa.array([clock(0)] * len(keys), INSTANT)})
    found: list[float | None] = historical_features(store, "seats_v1", rows).column("seats").to_pylist()
    return found


def online(store: FeatureStore, keys: Any) -> list[float | None]:
    found: list[float | None] = (
        online_features(store, "seats_v1", {"flight": keys}, clock(0)).column("seats").to_pylist()
    )
    return found


def test_integers_beyond_2_53_find_their_own_features(store: FeatureStore) -> None:
    assert offline(store, pa.array([LARGE, NEIGHBOUR, LARGE - 1, None])) == [1.0, 2.0, None, None]
    assert online(store, [LARGE, NEIGHBOUR, LARGE - 1]) == [1.0, 2.0, None]
    assert online(store, np.array([LARGE, NEIGHBOUR])) == [1.0, 2.0]


@pytest.mark.parametrize("width", [pa.int16(), pa.int32(), pa.uint64()])
def test_other_widths_of_integers_find_the_same(store: FeatureStore, width: pa.DataType) -> None:
    assert offline(store, pa.array([5], width)) == [3.0]


def test_a_floating_key_against_an_integer_column_is_refused(store: FeatureStore) -> None:
    """C02: another entity's features would be found."""
    for keys in (pa.array([float(LARGE), None]), pa.array([5.0]), pa.array([5.0], pa.float32())):
        with pytest.raises(LifecycleError, match=r"'flight' is (double|float) but 'flight' of .* is int64.*type Int64"):
            offline(store, keys)


def test_pandas_makes_floating_keys_of_integers_with_missing_values(store: FeatureStore) -> None:
    """C02: ``[1234567890123456789, None]`` arrives as float64, and as Int64 if the caller says so."""
    service, at = store.get_feature_service("seats_v1"), [clock(0)] * 2
    with pytest.raises(LifecycleError, match="floating key is not exact"):
        store.get_historical_features(
            entity_df=pd.DataFrame({"flight": [LARGE, None], "event_timestamp": at}), features=service
        ).to_df()
    exact = pd.DataFrame({"flight": pd.array([LARGE, None], "Int64"), "event_timestamp": at})
    found = store.get_historical_features(entity_df=exact, features=service).to_arrow()
    assert found.column("seats").to_pylist() == [1.0, None]


@pytest.mark.parametrize("key", [float(LARGE), 5.7, 5.0, "5", True, np.float64(5)])
def test_an_inexact_key_is_refused_online(store: FeatureStore, key: Any) -> None:
    """C02: Feast takes 5.7 and "5" for the entity 5."""
    with pytest.raises(LifecycleError, match=r"join key 'flight' is INT64, but .*ask with the exact key"):
        online(store, [5, key])


@pytest.mark.parametrize("key", [None, float("nan"), pd.NA])
def test_a_null_key_is_refused_online(store: FeatureStore, key: Any) -> None:
    with pytest.raises(LifecycleError, match="join key 'flight' is null"):
        online(store, [key])


def test_a_number_is_no_text_key_online(tmp_path: Path) -> None:
    opened = open_store(deployment(tmp_path), "flights")
    apply_definitions(opened, project(tmp_path))
    assert CARRIER.value_type == ValueType.STRING
    with pytest.raises(LifecycleError, match="join key 'carrier' is STRING, but 5 is int"):
        online_features(opened, "delays_v1", {"carrier": [5], "origin": ["JFK"]}, clock(0))


def test_an_integer_key_against_a_floating_column_is_refused(tmp_path: Path) -> None:
    """C02, the other way round: the column's values are not exact, whatever the entity rows are."""
    flight = Entity(name="flight", join_keys=["flight"], value_type=ValueType.DOUBLE)
    uri = write_view(tmp_path, "seats", {"flight": [float(LARGE)], "seats": [1.0], "day": [0]})
    view = FeatureView(
        name="seats",
        entities=[flight],
        schema=[Field(name="flight", dtype=Float64), Field(name="seats", dtype=Float64)],
        source=source("seats", uri),
    )
    opened = open_store(deployment(tmp_path), "flights")
    apply_definitions(opened, [flight, view, FeatureService(name="seats_v1", features=[view])])
    with pytest.raises(LifecycleError, match=r"'flight' is int64 but 'flight' of .* is double"):
        offline(opened, pa.array([LARGE]))
