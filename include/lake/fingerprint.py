"""Content fingerprints: one SHA-256 of a table's content, independent of how Arrow stores it.

Chunking, buffer offsets, dictionary encoding and the bytes under nulls do not count; column names,
types, order and values do. The order of rows counts, so callers sort by a unique key first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

_NOTHING = memoryview(b"")


def of_table(table: pa.Table) -> str:
    """Return the fingerprint of ``table`` as 64 hexadecimal digits.

    Raises:
        TypeError: a column is nested; nested columns have no canonical bytes here.
    """
    return of_parts(table, [table.num_rows])[0]


def of_parts(table: pa.Table, counts: Sequence[int]) -> list[str]:
    """Return the fingerprints of the first ``counts[0]`` rows of ``table``, of the next ``counts[1]`` rows, and so on.

    Each equals the fingerprint of a table with these rows alone; one call for many small parts costs far less.

    Raises:
        TypeError: a column is nested.
    """
    digests = [hashlib.sha256() for _ in counts]
    # column by column: memory holds the canonical bytes of one column only
    for name, column in zip(table.column_names, table.columns, strict=True):
        heading, canonical = f"{name}:{_logical(column.type)}", _canonical(name, column)
        begin = 0
        for digest, count in zip(digests, counts, strict=True):
            digest.update(f"{heading}:{count};".encode())
            for octets in canonical.rows(begin, begin + count):
                digest.update(octets)
            begin += count
    return [digest.hexdigest() for digest in digests]


def combine(parts: Iterable[str]) -> str:
    """Return one fingerprint of several, in the order given."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _logical(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    return kind


@dataclass(frozen=True)
class _Canonical:
    """The canonical bytes of a column, laid out so that consecutive rows are slices.

    Attributes:
        nulls: one byte a row, 1 for null; ``None`` if the column has no null.
        values: ``width`` bytes a row: the value, or the length of the row's text.
        width: bytes a row in ``values``.
        text: the bytes of all texts; ``None`` if the column is no text.
        bounds: where the text of each row begins in ``text``, and the end of the last.
    """

    nulls: memoryview | None
    values: memoryview = _NOTHING
    width: int = 0
    text: memoryview | None = None
    bounds: memoryview = _NOTHING

    def rows(self, begin: int, end: int) -> Iterator[bytes | memoryview]:
        yield bytes(end - begin) if self.nulls is None else self.nulls[begin:end]
        yield self.values[begin * self.width : end * self.width]
        if self.text is not None:
            yield self.text[self.bounds[begin] : self.bounds[end]]


def _canonical(name: str, column: pa.ChunkedArray) -> _Canonical:
    kind = _logical(column.type)
    flat = (column if column.type == kind else column.cast(kind)).combine_chunks()
    values = flat if isinstance(flat, pa.Array) else pa.concat_arrays(flat.chunks)
    nulls = _octets(pc.is_null(values).cast(pa.uint8())) if values.null_count else None
    if pa.types.is_null(kind):
        return _Canonical(nulls)
    if pa.types.is_string(kind):
        if not len(values):  # an empty text column may have no offsets
            return _Canonical(nulls)
        filled = _filled(values, "")
        _, offsets, text = filled.buffers()
        bounds = memoryview(offsets).cast("i")[filled.offset :]
        lengths = pc.binary_length(filled)
        return _Canonical(nulls, _octets(lengths), 4, memoryview(b"" if text is None else text), bounds)
    if pa.types.is_boolean(kind):
        values = values.cast(pa.uint8())
    elif pa.types.is_date32(kind):
        values = values.view(pa.int32())
    elif pa.types.is_temporal(kind):
        values = values.cast(pa.int64())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise TypeError(f"column {name!r} is {kind}; fingerprints cover flat numbers, text, flags and times")
    return _Canonical(nulls, _octets(_filled(values, 0)), values.type.bit_width // 8)


def _filled(values: pa.Array, nothing: object) -> pa.Array:
    return pc.fill_null(values, nothing) if values.null_count else values


def _octets(values: pa.Array) -> memoryview:
    """Return the bytes of ``values``, which hold no null."""
    return memoryview(values.to_numpy(zero_copy_only=False)).cast("B")
