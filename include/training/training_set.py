"""A frozen training set: one table, named by the hash of what is in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds

from include.core.errors import TrainingError
from include.lake.fingerprint import of_table


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
        """Return the training set of ``table``, the same for every order of its rows."""
        # the order in which a table's files are read is not defined, and two orders would train two models
        ordered = table.sort_by([(name, "ascending") for name in table.column_names])
        return cls(ordered, fingerprint(ordered), uri, version)


def fingerprint(table: pa.Table) -> str:
    """Return the sha256 of a table's contents in their order; chunks and file formats do not matter.

    Raises:
        TrainingError: a column is nested.
    """
    try:
        return of_table(table)
    except TypeError as error:
        raise TrainingError(f"training set: {error}; keep numbers, strings and times") from error


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

    # deltalake raises, instead of returning False, when it looks for a log below a file
    if not Path(uri).is_file() and DeltaTable.is_deltatable(uri):
        delta = DeltaTable(uri, version=version)
        return delta.to_pyarrow_table(), delta.version()
    if version is not None:
        raise TrainingError(f"training set {uri} is not a Delta table and has no version {version}")
    if not Path(uri).exists():
        raise TrainingError(f"training set {uri} does not exist; freeze one first")
    return ds.dataset(uri, format="parquet").to_table(), None
