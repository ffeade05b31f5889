"""Rows of the online store as bytes, whole columns at a time.

The bytes are Feast's own wire format, so that Feast can read them: a key as ``serialize_entity_key`` writes it
(version 3), and the features of a key as one ``RepeatedValue`` message, in the order of the view. Numpy lays out
numbers and flags, since a Python object for each value costs more than storing it. Every other type goes through
Feast's converter, each distinct value once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from feast.field import Field
from feast.infra.key_encoding_utils import serialize_entity_key, serialize_entity_key_prefix
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value
from feast.protos.feast.types.Value_pb2 import ValueType as ProtoType
from feast.type_map import python_values_to_proto_values
from feast.value_type import ValueType
from numpy.typing import NDArray

from include.core.errors import LifecycleError

KEY_VERSION = 3
BATCH_ROWS = 100_000
SORTED_ROWS = 4_000_000

Octets = NDArray[np.uint8]

# `repeated Value val = 1`: its tag, then the length of the Value that follows
_ELEMENT = 0x0A
_NULL = bytes([_ELEMENT, 0])
_VARINT, _EIGHT_BYTES, _FOUR_BYTES = 0, 1, 5
# field number, wire type and Arrow type of the types that numpy lays out
_FLOATS = {
    ValueType.FLOAT: (Value.FLOAT_VAL_FIELD_NUMBER, _FOUR_BYTES, pa.float32()),
    ValueType.DOUBLE: (Value.DOUBLE_VAL_FIELD_NUMBER, _EIGHT_BYTES, pa.float64()),
}
_INTEGERS = {
    ValueType.INT32: (Value.INT32_VAL_FIELD_NUMBER, pa.int32(), ProtoType.INT32),
    ValueType.INT64: (Value.INT64_VAL_FIELD_NUMBER, pa.int64(), ProtoType.INT64),
}


def encoded_rows(
    rows: pa.Table, keys: Sequence[Field], features: Sequence[Field]
) -> Iterator[tuple[list[bytes], list[bytes], pa.Table]]:
    """Yield the encoded keys, the encoded features and the rows of one batch of ``rows`` after the other.

    Rows are sorted by the bytes of the key, the order in which a B-tree takes them fastest; more than
    ``SORTED_ROWS`` rows are sorted in portions of that size. Keys must hold no null.
    """
    for begin in range(0, rows.num_rows, SORTED_ROWS):
        part = rows.slice(begin, SORTED_ROWS)
        joined = _encoded_keys(part, keys)
        order = pc.array_sort_indices(joined)
        for at in range(0, part.num_rows, BATCH_ROWS):
            chosen = order.slice(at, BATCH_ROWS)
            batch = part.take(chosen)
            values = [_element(batch.column(field.name), field.dtype.to_value_type()) for field in features]
            yield joined.take(chosen).to_pylist(), _joined(b"", values, batch.num_rows).to_pylist(), batch


def _encoded_keys(rows: pa.Table, keys: Sequence[Field]) -> pa.Array:
    ordered = sorted(keys, key=lambda field: field.name)
    prefix = serialize_entity_key_prefix([field.name for field in ordered], KEY_VERSION)
    parts = [_key_part(rows.column(field.name), field.dtype.to_value_type()) for field in ordered]
    return _joined(prefix, parts, rows.num_rows)


def _joined(prefix: bytes, parts: Sequence[pa.Array], rows: int) -> pa.Array:
    if not parts:
        return pa.array([prefix] * rows, pa.binary())
    empty = pa.scalar(b"", pa.binary())
    return pc.binary_join_element_wise(pa.scalar(prefix, pa.binary()), *parts, empty)


# ---- keys ---------------------------------------------------------------------------------------


def _key_part(column: pa.ChunkedArray, kind: ValueType) -> pa.Array:
    """Encode the type, the length and the bytes of each key value."""
    if kind in _INTEGERS and pa.types.is_integer(column.type):
        _, arrow, number = _INTEGERS[kind]
        values = _flat(column.cast(arrow)).to_numpy(zero_copy_only=False)
        head = np.frombuffer(struct.pack("<II", number, arrow.byte_width), np.uint8)
        return _fixed(np.hstack([np.tile(head, (len(values), 1)), _little_endian(values)]))
    if kind in _INTEGERS:
        # Feast's converter would cut 5.7 to 5, another entity
        raise LifecycleError(
            f"a join key is declared as {kind.name} and its column is {column.type}; declare what the column holds"
        )
    nothing = len(serialize_entity_key_prefix([""], KEY_VERSION))

    def part(value: Any) -> bytes:
        (message,) = python_values_to_proto_values([value], kind)
        key = EntityKey(join_keys=[""], entity_values=[message])
        return serialize_entity_key(key, entity_key_serialization_version=KEY_VERSION)[nothing:]

    return _by_distinct(column, part)


# ---- values -------------------------------------------------------------------------------------


def _element(column: pa.ChunkedArray, kind: ValueType) -> pa.Array:
    """Encode each entry as one element of a ``RepeatedValue``; null is an empty ``Value``."""
    number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    if kind in _FLOATS and number:
        return _float_element(column, kind)
    if kind in _INTEGERS and pa.types.is_integer(column.type):
        field, arrow, _ = _INTEGERS[kind]
        return _integer_element(_flat(column.cast(arrow)), field)
    if kind == ValueType.BOOL and pa.types.is_boolean(column.type):
        return _integer_element(_flat(column.cast(pa.int8())), Value.BOOL_VAL_FIELD_NUMBER)
    if pa.types.is_nested(column.type):
        values = column.to_pylist()
        messages = python_values_to_proto_values(values, kind)
        return pa.array([RepeatedValue(val=[message]).SerializeToString() for message in messages], pa.binary())

    def element(value: Any) -> bytes:
        encoded: bytes = RepeatedValue(val=python_values_to_proto_values([value], kind)).SerializeToString()
        return encoded

    return _by_distinct(column, element)


def _float_element(column: pa.ChunkedArray, kind: ValueType) -> pa.Array:
    field, wire, arrow = _FLOATS[kind]
    flat = _flat(column.cast(arrow, safe=False))
    # Feast takes NaN for null
    null = pc.is_null(flat, nan_is_null=True)
    values = pc.fill_null(flat, 0.0).to_numpy(zero_copy_only=False)
    head = np.array([_ELEMENT, 1 + arrow.byte_width, field << 3 | wire], np.uint8)
    encoded = _fixed(np.hstack([np.tile(head, (len(values), 1)), _little_endian(values)]))
    return _or_null(encoded, null)


def _integer_element(flat: pa.Array, field: int) -> pa.Array:
    values = pc.fill_null(flat, 0).to_numpy(zero_copy_only=False).astype(np.int64).view(np.uint64)
    groups = 1 + sum((values >= np.uint64(1 << 7 * n)).astype(np.int64) for n in range(1, 10))
    width = int(groups.max(initial=1))
    encoded = np.empty((len(values), 3 + width), np.uint8)
    encoded[:, 0], encoded[:, 1], encoded[:, 2] = _ELEMENT, 1 + groups, field << 3 | _VARINT
    for n in range(width):
        more = (groups > n + 1).astype(np.uint8) << 7
        encoded[:, 3 + n] = (values >> np.uint64(7 * n)).astype(np.uint8) & 0x7F | more
    return _or_null(_varying(encoded, 3 + groups), pc.is_null(flat))


def _or_null(encoded: pa.Array, null: pa.Array) -> pa.Array:
    return pc.if_else(null, pa.scalar(_NULL, pa.binary()), encoded)


# ---- bytes --------------------------------------------------------------------------------------


def _flat(column: pa.ChunkedArray) -> pa.Array:
    flat = column.combine_chunks()
    return pa.concat_arrays(flat.chunks) if isinstance(flat, pa.ChunkedArray) else flat


def _little_endian(values: NDArray[Any]) -> Octets:
    plain = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return plain.view(np.uint8).reshape(len(values), values.dtype.itemsize)


def _fixed(octets: Octets) -> pa.Array:
    """Return each row of ``octets`` as one binary value."""
    rows, width = octets.shape
    offsets = np.arange(0, (rows + 1) * width, width, dtype=np.int32)
    return _binary(offsets, np.ascontiguousarray(octets))


def _varying(octets: Octets, lengths: NDArray[np.int64]) -> pa.Array:
    """Return the first ``lengths`` octets of each row as one binary value."""
    kept = octets[np.arange(octets.shape[1]) < lengths[:, None]]
    return _binary(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32), kept)


def _binary(offsets: NDArray[np.int32], octets: Octets) -> pa.Array:
    return pa.Array.from_buffers(
        pa.binary(), len(offsets) - 1, [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(octets.tobytes())]
    )


def _by_distinct(column: pa.ChunkedArray, encode: Any) -> pa.Array:
    """Encode each entry; call ``encode`` once for each distinct value."""
    flat = _flat(column)
    plain = flat.dictionary_decode() if pa.types.is_dictionary(flat.type) else flat
    coded = pc.dictionary_encode(plain, null_encoding="encode")
    distinct = pa.array([encode(value) for value in coded.dictionary.to_pylist()], pa.binary())
    return distinct.take(coded.indices)
