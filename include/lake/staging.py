"""Stages: Parquet files that no reader sees yet, one a partition, with a manifest."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.fs as pafs

from include.core import fault_points
from include.core.errors import LifecycleError, RowsRefused
from include.lake import column_types, file_statistics, fingerprint, records

MANIFEST = "_stage.json"
AUDIT = "_audit.json"
# Delta's default. For a day of a few hundred rows zstd files are a tenth smaller, and a third slower to write and read
COMPRESSION = "snappy"
FETCHED_BYTES = 16 << 20  # an audit holds a stage of up to so many bytes in memory, if it is not on this machine
GROUP_ROWS = 100_000  # partitions are written together up to so many rows; a larger partition is written alone
_FILE = "part-{i}.parquet"
_PARQUET = pads.ParquetFileFormat()
_HIVE = pads.partitioning(pa.schema([("ds", pa.string())]), flavor="hive")


@dataclass(frozen=True)
class StagedPartition:
    """The staged file of one partition: path, rows, size, content fingerprint, and statistics for the Delta log."""

    file: str
    rows: int
    bytes: int
    fingerprint: str
    statistics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """All rows that one attempt has staged for one table.

    Attributes:
        table: the table the rows are meant for.
        path: the folder that holds the files.
        partitions: the staged file of each key; a key without rows has none.
        columns: the staged columns, without ``ds``.
        base: version of the table when the stage was begun; -1 before its first, None where an earlier release
            has not written it down.
        filesystem: the filesystem of ``path``.
        inputs: fields of ``records.Input`` by the name of the table that was read.
        notes: figures about the stage for its publish record.
    """

    table: str
    path: str
    partitions: dict[str, StagedPartition]
    columns: pa.Schema
    filesystem: pafs.FileSystem
    inputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    base: int | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of all staged partitions, in order."""
        return tuple(sorted(self.partitions))

    @property
    def rows(self) -> int:
        """The number of all staged rows."""
        return sum(part.rows for part in self.partitions.values())

    def schema(self) -> pa.Schema:
        """Return the columns of the table, ``ds`` last."""
        return self.columns.append(pa.field("ds", pa.string()))

    def parquet(self) -> list[str] | pads.Dataset | pa.Table:
        """Return the staged rows in a form that DuckDB reads.

        Files on this machine come as paths, with Hive's ``ds=<key>`` folders in them. Files in object storage, which
        DuckDB would look for on this machine, come as their rows: a table up to ``FETCHED_BYTES``, else a dataset
        that fetches the files each time it is read.
        """
        filled = [part for _, part in sorted(self.partitions.items()) if part.rows]
        files = [f"{self.path}/{part.file}" for part in filled]
        if not files:
            return self.schema().empty_table()
        if has_folders(self.filesystem):
            return files
        found = pads.dataset(
            files, self.schema(), "parquet", self.filesystem, partitioning=_HIVE, partition_base_dir=self.path
        )
        # an audit reads the rows several times: fetch a small stage once
        return found.to_table() if sum(part.bytes for part in filled) <= FETCHED_BYTES else found

    def rows_of(self, key: str) -> pa.Table:
        """Read the staged rows of one partition into memory, ``ds`` last."""
        part = self.partitions[key]
        if not part.rows:
            return self.schema().empty_table()
        path = f"{self.path}/{part.file}"
        found = pads.dataset(
            [path], self.schema(), "parquet", self.filesystem, partitioning=_HIVE, partition_base_dir=self.path
        )
        return found.to_table()

    def save(self) -> None:
        """Write the manifest, which makes the folder a stage."""
        manifest = {
            "table": self.table,
            "partitions": {key: vars(part) for key, part in self.partitions.items()},
            "columns": base64.b64encode(self.columns.serialize()).decode(),
            "inputs": dict(self.inputs),
            "notes": dict(self.notes),
            "base": self.base,
        }
        _write_json(self.filesystem, f"{self.path}/{MANIFEST}", manifest)

    def save_audit(self, audit: Mapping[str, Any]) -> None:
        """Write the result of the audit beside the files; a stage without one is not published."""
        _write_json(self.filesystem, f"{self.path}/{AUDIT}", audit)

    def audit(self) -> dict[str, Any] | None:
        """Return the result that ``save_audit`` wrote; ``None`` for a stage that was not audited."""
        if self.filesystem.get_file_info(f"{self.path}/{AUDIT}").type == pafs.FileType.NotFound:
            return None
        return _read_json(self.filesystem, f"{self.path}/{AUDIT}")

    @classmethod
    def read(cls, filesystem: pafs.FileSystem, path: str) -> Stage:
        """Read the stage in the folder ``path``.

        Raises:
            LifecycleError: the folder holds no manifest.
        """
        if filesystem.get_file_info(f"{path}/{MANIFEST}").type == pafs.FileType.NotFound:
            raise LifecycleError(
                f"{path} holds no finished stage; clear the task that stages it, so that it runs again"
            )
        manifest = _read_json(filesystem, f"{path}/{MANIFEST}")
        partitions = {key: StagedPartition(**part) for key, part in manifest["partitions"].items()}
        columns = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(manifest["columns"])))
        return cls(
            manifest["table"],
            path,
            partitions,
            columns,
            filesystem,
            manifest["inputs"],
            manifest["notes"],
            manifest.get("base"),
        )


@dataclass(frozen=True)
class StageWriter:
    """The writer of one stage: splits sorted batches into one Parquet file a partition.

    Memory holds the partitions of one group (``GROUP_ROWS``), or one larger partition.
    """

    filesystem: pafs.FileSystem
    folder: str
    table: str
    keys: tuple[str, ...]
    inputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    threads: int = 1
    base: int | None = None

    def write(self, batches: pa.RecordBatchReader, order: tuple[str, ...]) -> Stage:
        """Write every partition, then the manifest; a folder without a manifest is not a stage.

        Raises:
            RowsRefused: a row's ``ds`` is unknown or out of order, or a type or value cannot be stored.
        """
        began = time.monotonic()
        self._clear()
        fault_points.reached("stage.before_files", self.table)
        try:
            return self._write(batches, order, began)
        except BaseException:
            # each further attempt has a folder of its own: on a full disk no one of them would find room
            self._clear()
            raise

    def _clear(self) -> None:
        if self.filesystem.get_file_info(self.folder).type == pafs.FileType.Directory:
            self.filesystem.delete_dir(self.folder)

    def _write(self, batches: pa.RecordBatchReader, order: tuple[str, ...], began: float) -> Stage:
        columns = pa.schema([f for f in column_types.stored(self.table, batches.schema) if f.name != "ds"])
        make_folder(self.filesystem, self.folder)
        partitions = self._write_partitions(batches, order, columns)
        empty = columns.empty_table()
        for key in self.keys:
            if key not in partitions:
                partitions[key] = StagedPartition("", 0, 0, fingerprint.of_table(empty))
        notes = {**self.notes, records.SECONDS: round(time.monotonic() - began, 3)}
        stage = Stage(self.table, self.folder, partitions, columns, self.filesystem, self.inputs, notes, self.base)
        fault_points.reached("stage.before_manifest", self.table)
        stage.save()
        fault_points.reached("stage.written", self.table)
        return stage

    def _write_partitions(
        self, batches: pa.RecordBatchReader, order: tuple[str, ...], columns: pa.Schema
    ) -> dict[str, StagedPartition]:
        found: dict[str, StagedPartition] = {}
        held: dict[str, pa.Table] = {}
        rows_held = 0
        for key, rows in _by_partition(self.table, batches):
            if key in found or key in held or key not in self.keys:
                fault = "was not asked for" if key not in self.keys else "is not sorted by ds"
                raise RowsRefused(f"{self.table}: partition {key} {fault}; correct the query that stages it")
            held[key] = rows.cast(columns)
            rows_held += rows.num_rows
            if rows_held >= GROUP_ROWS:
                found |= self._write_group(held, order)
                held, rows_held = {}, 0
        return found | self._write_group(held, order)

    def _write_group(self, group: Mapping[str, pa.Table], order: tuple[str, ...]) -> dict[str, StagedPartition]:
        """Write several whole partitions in one call: one call for each would take longer than writing their rows."""
        if not group:
            return {}
        group = dict(sorted(group.items()))
        counts = [rows.num_rows for rows in group.values()]
        sizes: dict[str, int] = {}
        keys = pa.array(group, pa.string())
        numbers = np.repeat(np.arange(len(group)), counts)
        together = pa.concat_tables(group.values()).append_column("ds", keys.take(pa.array(numbers)))
        together = together.sort_by([(name, "ascending") for name in ("ds", *order)]) if order else together
        written = together.drop_columns(["ds"])
        column_types.refuse_values(self.table, written)
        pads.write_dataset(
            together,
            self.folder,
            filesystem=self.filesystem,
            format=_PARQUET,
            file_options=_PARQUET.make_write_options(compression=COMPRESSION),
            partitioning=_HIVE,
            basename_template=_FILE,
            existing_data_behavior="overwrite_or_ignore",
            use_threads=self.threads > 1,
            preserve_order=True,
            max_partitions=len(group),
            max_open_files=len(group) + 1,
            create_dir=has_folders(self.filesystem),
            file_visitor=lambda file: sizes.update({_key_of(file.path): file.size}),
        )
        fingerprints, statistics = fingerprint.of_parts(written, counts), file_statistics.of_parts(written, counts)
        return {
            key: StagedPartition(f"ds={key}/{_FILE.format(i=0)}", count, sizes[key], content, bounds)
            for key, count, content, bounds in zip(group, counts, fingerprints, statistics, strict=True)
        }


def has_folders(filesystem: pafs.FileSystem) -> bool:
    """Tell whether files are on this machine and need a folder; object storage has names only."""
    return isinstance(filesystem, pafs.LocalFileSystem)


def make_folder(filesystem: pafs.FileSystem, path: str) -> None:
    """Create the folder ``path`` if files need one; in object storage that would be one request for each part of it."""
    if has_folders(filesystem):
        filesystem.create_dir(path)


def _key_of(path: str) -> str:
    return path.rsplit("/", 2)[1].removeprefix("ds=")


def _by_partition(table: str, batches: pa.RecordBatchReader) -> Iterator[tuple[str, pa.Table]]:
    """Yield the rows of each run of equal ``ds``, in the order of ``batches``."""
    key: str | None = None
    held: list[pa.RecordBatch] = []
    for batch in batches:
        for value, piece in _runs(table, batch):
            if value != key and key is not None:
                yield key, pa.Table.from_batches(held)
                held = []
            key = value
            held.append(piece)
    if key is not None:
        yield key, pa.Table.from_batches(held)


def _runs(table: str, batch: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
    if batch.num_rows == 0:
        return
    keys = batch.column("ds").cast(pa.string())
    if keys.null_count:
        example = batch.filter(pc.is_null(keys)).slice(0, 1).to_pylist()[0]
        raise RowsRefused(
            f"{table}: rows have no partition: their ds is null, as in {example}; give each row a partition in the "
            "query that stages them"
        )
    encoded = pc.run_end_encode(keys)
    rows = batch.drop_columns(["ds"])
    start = 0
    for end, value in zip(encoded.run_ends.to_pylist(), encoded.values.to_pylist(), strict=True):
        yield value, rows.slice(start, end - start)
        start = end


def _write_json(filesystem: pafs.FileSystem, path: str, value: Mapping[str, Any]) -> None:
    with filesystem.open_output_stream(path) as stream:
        stream.write(json.dumps(value).encode())


def _read_json(filesystem: pafs.FileSystem, path: str) -> dict[str, Any]:
    with filesystem.open_input_stream(path) as stream:
        value: dict[str, Any] = json.loads(stream.read())
    return value
