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
    flat = column.cast(kind).combine_chunks()
    values = flat if isinstance(flat, pa.Array) else pa.concat_arrays(flat.chunks)
    yield pc.is_null(values).cast(pa.uint8()).to_numpy(zero_copy_only=False).tobytes()
    if pa.types.is_string(kind):
        filled = pc.fill_null(values, "")
        yield pc.binary_length(filled).to_numpy(zero_copy_only=False).tobytes()
        yield "".join(filled.to_pylist()).encode()
        return
    if pa.types.is_null(kind):
        return
    if pa.types.is_boolean(kind):
        values = values.cast(pa.uint8())
    elif pa.types.is_date32(kind):
        values = values.cast(pa.int32())
    elif pa.types.is_temporal(kind):
        values = values.cast(pa.int64())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise TypeError(f"column {name!r} is {kind}; fingerprints cover flat numbers, text, flags and times")
    yield pc.fill_null(values, 0).to_numpy(zero_copy_only=False).tobytes()
