"""The encoding by columns gives the same bytes as Feast's own encoding."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from feast import Field
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import RepeatedValue
from feast.type_map import python_values_to_proto_values
from feast.types import Array, Bool, Float32, Float64, Int32, Int64, String, UnixTimestamp
from hypothesis import given
from hypothesis import strategies as st

from include.feature_store import online_rows
from include.feature_store.online_rows import encoded_rows

WHOLE = st.integers(-(2**63), 2**63 - 1)
SMALL = st.integers(-(2**31), 2**31 - 1)
TEXTS = st.text(max_size=200)
FEATURES: dict[str, tuple[Any, pa.DataType, Any]] = {
    "whole": (Int64, pa.int64(), st.none() | WHOLE),
    "small": (Int32, pa.int32(), st.none() | SMALL),
    "single": (Float32, pa.float32(), st.none() | st.floats(width=32)),
    "double": (Float64, pa.float64(), st.none() | st.floats()),
    "narrowed": (Float32, pa.float64(), st.none() | st.floats(width=32)),
    "counted": (Float64, pa.int64(), st.none() | SMALL),
    "flag": (Bool, pa.bool_(), st.none() | st.booleans()),
    "text": (String, pa.string(), st.none() | TEXTS),
    "list": (Array(Int64), pa.list_(pa.int64()), st.lists(WHOLE, min_size=1, max_size=3)),
    "instant": (UnixTimestamp, pa.timestamp("us", "UTC"), st.none() | st.datetimes(timezones=st.just(None))),
}  # fmt: skip
KEYS = [Field(name="zone", dtype=String), Field(name="area", dtype=Int64), Field(name="part", dtype=Int32)]
NAMED = [Field(name=name, dtype=kind) for name, (kind, _, _) in FEATURES.items()]

ROW = st.fixed_dictionaries(
    {"zone": TEXTS, "area": WHOLE, "part": SMALL, **{name: values for name, (_, _, values) in FEATURES.items()}}
)


def table(rows: list[dict[str, Any]]) -> pa.Table:
    kinds = {"zone": pa.string(), "area": pa.int64(), "part": pa.int32()}
    kinds |= {name: kind for name, (_, kind, _) in FEATURES.items()}
    return pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in kinds.items()})


def feasts(rows: pa.Table) -> list[tuple[bytes, bytes]]:
    """Encode keys and features with Feast's own functions, in order of the keys."""

    def messages(field: Field) -> list[Any]:
        return list(python_values_to_proto_values(rows[field.name].to_pylist(), field.dtype.to_value_type()))

    names = [field.name for field in KEYS]
    keys = [
        serialize_entity_key(EntityKey(join_keys=names, entity_values=list(values)), 3)
        for values in zip(*map(messages, KEYS), strict=True)
    ]
    values = [RepeatedValue(val=row).SerializeToString() for row in zip(*map(messages, NAMED), strict=True)]
    return sorted(zip(keys, values, strict=True))


def ours(rows: pa.Table) -> list[tuple[bytes, bytes]]:
    parts = encoded_rows(rows, KEYS, NAMED)
    return [pair for keys, values, _ in parts for pair in zip(keys, values, strict=True)]


@given(st.lists(ROW, min_size=1, max_size=20, unique_by=lambda row: (row["zone"], row["area"], row["part"])))
def test_bytes_are_feasts(rows: list[dict[str, Any]]) -> None:
    made = table(rows)
    assert ours(made) == feasts(made)
    in_chunks = pa.concat_tables([made.slice(0, 1), made.slice(1)])
    assert ours(in_chunks) == feasts(made)


def test_batches_keep_rows_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(online_rows, "BATCH_ROWS", 2)
    monkeypatch.setattr(online_rows, "SORTED_ROWS", 3)
    rows = pa.table({"area": pa.array([5, 1, 4, 3, 2]), "whole": pa.array([50, 10, 40, 30, 20])})
    key, feature = [Field(name="area", dtype=Int64)], [Field(name="whole", dtype=Int64)]
    seen = [batch.to_pydict() for _, _, batch in encoded_rows(rows, key, feature)]
    assert seen == [
        {"area": [1, 4], "whole": [10, 40]}, {"area": [5], "whole": [50]}, {"area": [2, 3], "whole": [20, 30]},
    ]  # fmt: skip


def test_a_view_without_keys_has_one() -> None:
    rows = pa.table({"whole": pa.array([7])})
    ((keys, _, _),) = encoded_rows(rows, [], [Field(name="whole", dtype=Int64)])
    assert keys == [serialize_entity_key(EntityKey(), 3)]
