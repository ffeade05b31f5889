"""A frozen training set: one table, named by the hash of what is in it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from include.errors import TrainingError


@dataclass(frozen=True)
class TrainingSet:
    """A training set in memory.

    Attributes:
        table: all rows, sorted by every column from the first on.
        fingerprint: sha256 over column names, types and values in that order (64 hex digits).
        uri: where it was read from; empty when it was only ever in memory.
        version: Delta version that was read; None for Parquet.
    """

    table: pa.Table
    fingerprint: str
    uri: str = ""
    version: int | None = None

    @classmethod
    def of(cls, table: pa.Table, uri: str = "", version: int | None = None) -> TrainingSet:
        """The training set that holds ``table``, whatever order its rows came in."""
        # files of a table are read in no promised order, and two orders would train two models
        ordered = table.sort_by([(name, "ascending") for name in table.column_names])
        return cls(ordered, fingerprint(ordered), uri, version)


def fingerprint(table: pa.Table) -> str:
    """sha256 of a table's contents in their order; the same whatever the chunks or the file."""
    digest = hashlib.sha256(str(table.num_rows).encode())
    for field in table.schema:
        digest.update(f"|{field.name}:{field.type}|".encode())
        for part in _canonical_buffers(table.column(field.name)):
            digest.update(part)
    return digest.hexdigest()


def _canonical_buffers(column: pa.ChunkedArray) -> list[memoryview]:
    # bytes under a null are undefined, so nulls are hashed apart from values
    nulls = np.packbits(pc.is_null(column).to_numpy())
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
        values = pc.fill_null(column.cast(pa.large_binary()), b"")
        lengths = pc.binary_length(values).to_numpy()
        text = [_text_bytes(chunk) for chunk in values.chunks if len(chunk)]
        return [nulls.data, np.ascontiguousarray(lengths).data, *text]
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    elif pa.types.is_temporal(kind):
        column = column.cast(pa.int64() if kind.bit_width == 64 else pa.int32())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise TrainingError(f"training set holds a column of type {kind}; keep numbers, strings and times")
    zero = pa.scalar(0).cast(column.type)
    return [nulls.data, np.ascontiguousarray(pc.fill_null(column, zero).to_numpy()).data]


def _text_bytes(chunk: pa.Array) -> memoryview:
    _, offsets, data = chunk.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
    return memoryview(data)[bounds[0] : bounds[-1]] if data is not None else memoryview(b"")


def open_training_set(uri: str, version: int | None = None, expected: str | None = None) -> TrainingSet:
    """Read a training set from a Parquet file or folder, or from a Delta table.

    Args:
        uri: path or address; a Delta table when it holds a ``_delta_log``.
        version: Delta version to read; the newest when None.
        expected: fingerprint that the contents must have.

    Raises:
        TrainingError: nothing is there, or the contents are not the expected ones.
    """
    table, version = _read(uri, version)
    found = TrainingSet.of(table, uri, version)
    if expected is not None and found.fingerprint != expected:
        raise TrainingError(
            f"training set {uri} has fingerprint {found.fingerprint[:12]}, expected {expected[:12]}: "
            "its rows are not the frozen ones; freeze it again"
        )
    return found


def _read(uri: str, version: int | None) -> tuple[pa.Table, int | None]:
    from deltalake import DeltaTable

    # deltalake fails, instead of answering no, when it looks for a log below a file
    if not Path(uri).is_file() and DeltaTable.is_deltatable(uri):
        delta = DeltaTable(uri, version=version)
        return delta.to_pyarrow_table(), delta.version()
    if version is not None:
        raise TrainingError(f"training set {uri} is not a Delta table and has no version {version}")
    if not Path(uri).exists():
        raise TrainingError(f"training set {uri} does not exist; freeze one first")
    return ds.dataset(uri, format="parquet").to_table(), None
