"""Content fingerprints: one sha256 for what a table says, however Arrow happens to store it.

Chunking, buffer offsets, dictionary encoding and the bytes under nulls do not count; column names,
types, order and values do. Rows count in the order given, so callers sort by a unique key first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc


def of_table(table: pa.Table) -> str:
    """The fingerprint of ``table`` as 64 hexadecimal digits.

    Raises:
        TypeError: a column is nested; such columns have no canonical bytes here.
    """
    digest = hashlib.sha256()
    for name, column in zip(table.column_names, table.columns, strict=True):
        digest.update(f"{name}:{_logical(column.type)}:{len(column)};".encode())
        for part in _canonical(name, column):
            digest.update(part)
    return digest.hexdigest()


def combine(parts: Iterable[str]) -> str:
    """One fingerprint for several, in the order given."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _logical(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    return kind


def _canonical(name: str, column: pa.ChunkedArray) -> Iterable[bytes | memoryview]:
    kind = _logical(column.type)
    flat = (column if column.type == kind else column.cast(kind)).combine_chunks()
    values = flat if isinstance(flat, pa.Array) else pa.concat_arrays(flat.chunks)
    yield bytes(len(values)) if not values.null_count else _octets(pc.is_null(values).cast(pa.uint8()))
    if pa.types.is_null(kind):
        return
    if pa.types.is_string(kind):
        filled = _filled(values, "")
        yield _octets(pc.binary_length(filled))
        yield _text(filled)
        return
    if pa.types.is_boolean(kind):
        values = values.cast(pa.uint8())
    elif pa.types.is_date32(kind):
        values = values.view(pa.int32())
    elif pa.types.is_temporal(kind):
        values = values.cast(pa.int64())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise TypeError(f"column {name!r} is {kind}; fingerprints cover flat numbers, text, flags and times")
    yield _octets(_filled(values, 0))


def _filled(values: pa.Array, nothing: object) -> pa.Array:
    return pc.fill_null(values, nothing) if values.null_count else values


def _octets(values: pa.Array) -> memoryview:
    """The values' own bytes; they hold no null."""
    return memoryview(values.to_numpy(zero_copy_only=False)).cast("B") if len(values) else memoryview(b"")


def _text(values: pa.Array) -> memoryview:
    """The bytes of all strings one after the other: what lies between the first offset and the last."""
    _, offsets, octets = values.buffers()
    if not len(values) or octets is None:
        return memoryview(b"")
    bounds = memoryview(offsets).cast("i")
    return memoryview(octets)[bounds[values.offset] : bounds[values.offset + len(values)]]
