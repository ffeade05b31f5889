"""A declared type that would change a value of the column is refused when definitions are applied."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, ValueType
from feast.types import Array, Bool, FeastType, Float32, Float64, Int32, Int64, String

from include.core.errors import SpecError
from include.feature_store.declared_types import faults
from include.feature_store.feast_store import apply_definitions, open_store
from tests.unit.feast_case import CARRIER, deployment, source, write_view


def view_of(dtype: FeastType, uri: str = "nowhere", key: FeastType = String) -> FeatureView:
    return FeatureView(
        name="delays",
        entities=[CARRIER] if key == String else [Entity(name="carrier", value_type=ValueType.INT64)],
        schema=[Field(name="carrier", dtype=key), Field(name="delay", dtype=dtype)],
        source=source("delays", uri),
    )


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return open_store(deployment(tmp_path), "flights")


@pytest.mark.parametrize(("declared", "value"), [(Int64, 1.5), (Float32, 1e300)])
def test_a_type_that_changes_values_is_refused(
    store: FeatureStore, tmp_path: Path, declared: FeastType, value: float
) -> None:
    """C11: a model would learn 1.5 and be served 1, or learn 1e300 and be served infinity."""
    uri = write_view(tmp_path, "delays", {"carrier": ["AA"], "delay": [value], "day": [0]})
    for _ in range(2):
        with pytest.raises(SpecError, match=r"delays: 'delay' is declared as (Int64|Float32), but column 'delay' .* is"
                                            r" double.*declare it as Float64"):  # fmt: skip
            apply_definitions(store, [CARRIER, view_of(declared, uri)])
    assert store.list_feature_views() == []
    assert apply_definitions(store, [CARRIER, view_of(Float64, uri)])


def test_a_table_that_came_later_is_compared_at_the_next_application(store: FeatureStore, tmp_path: Path) -> None:
    """C11: definitions may be applied before the first publish."""
    uri = str(tmp_path / "lake" / "delays")
    assert apply_definitions(store, [CARRIER, view_of(Int64, uri)])
    assert write_view(tmp_path, "delays", {"carrier": ["AA"], "delay": [1.5], "day": [0]}) == uri
    with pytest.raises(SpecError, match="declared as Int64"):
        apply_definitions(store, [CARRIER, view_of(Int64, uri)])


def test_every_fault_is_named(tmp_path: Path) -> None:
    """C11: join keys and columns that are not there as well."""
    schema = pa.schema([("carrier", pa.float64()), ("delays", pa.float64())])
    found = faults(view_of(Int64, key=Int64), schema)
    assert len(found) == 2
    assert "'carrier' is declared as Int64" in found[0]
    assert """has no column 'delay'; did you mean "delays"?""" in found[1]


@pytest.mark.parametrize(
    ("declared", "kind", "fits"),
    [
        (Int64, pa.int64(), True), (Int64, pa.int8(), True), (Int64, pa.uint32(), True), (Int64, pa.uint64(), False),
        (Int32, pa.int32(), True), (Int32, pa.int64(), False), (Int32, pa.uint32(), False),
        (Int64, pa.decimal128(10, 0), False), (Int64, pa.bool_(), False), (Int64, pa.string(), False),
        (Float64, pa.float64(), True), (Float64, pa.float32(), True), (Float64, pa.int32(), True),
        (Float64, pa.int64(), False), (Float64, pa.decimal128(10, 2), False),
        (Float32, pa.float32(), True), (Float32, pa.int16(), True), (Float32, pa.int32(), False),
        (String, pa.string(), True), (String, pa.dictionary(pa.int32(), pa.string()), True),
        (String, pa.int64(), False), (Bool, pa.bool_(), True), (Bool, pa.int64(), False),
        (Array(Int64), pa.list_(pa.int64()), True), (Array(Float32), pa.list_(pa.float64()), False),
    ],
)  # fmt: skip
def test_only_lossless_conversions_are_allowed(declared: FeastType, kind: pa.DataType, fits: bool) -> None:
    """C11: a wider type is fine."""
    found = faults(view_of(declared), pa.schema([("carrier", pa.string()), ("delay", kind)]))
    assert (found == []) is fits
