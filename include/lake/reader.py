"""Reading the lake: addresses of tables, their rows, and their publish records."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache

import pyarrow.dataset as ds
import pyarrow.fs as pafs
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from include.core.errors import MissingPartitions
from include.lake import columns, delta_log, fingerprint, records
from include.lake.records import Input, Record

TABLE_NAME = re.compile(
    r"[a-z][a-z0-9_]*/(raw|features|predictions|training|monitoring|ledger|quarantine)/[a-z][a-z0-9_]*"
)


@dataclass(frozen=True)
class LakeReader:
    """Every Delta table under one root, a folder or an ``s3://`` address, to read from.

    Each method opens the table anew and so sees its newest version. ``at_one_moment`` gives a reader that does not.
    """

    root: str

    def at_one_moment(self) -> LakeReader:
        """Return a reader for which each table stays at the version at which that reader first opens it.

        A step reads its inputs through one such reader: the inputs that it records are then the inputs that it
        read, although another task may publish meanwhile, and each Delta log is read once. The reader has no
        method that stages or publishes, since it would not see what it published.
        """
        return _MomentReader(self.root)

    # ---- tables -----------------------------------------------------------------------------

    def uri(self, table: str) -> str:
        """Return the address of the folder that holds the Delta log and the files of ``table``.

        Raises:
            ValueError: ``table`` is not of the form ``<use case>/<layer>/<name>``.
        """
        if not TABLE_NAME.fullmatch(table):
            raise ValueError(f"{table!r} is no table name; write it as flights/raw/outcomes")
        return f"{self.root}/{table}"

    def files(self) -> tuple[pafs.FileSystem, str]:
        """Return the filesystem that holds the lake, and the path of the root in it."""
        return _files(self.root)

    def find(self, table: str, version: int | None = None) -> DeltaTable | None:
        """Open ``table``; return ``None`` if it was never published.

        Args:
            table: name of the table.
            version: Delta version to open; ``None`` for the newest.
        """
        try:
            return DeltaTable(self.uri(table), version=version)
        except TableNotFoundError:
            return None

    def open(self, table: str, version: int | None = None) -> DeltaTable:
        """Open ``table`` at ``version``, or at the newest version.

        Raises:
            MissingPartitions: the table has never been published.
        """
        delta = self.find(table, version)
        if delta is None:
            raise MissingPartitions(f"{table} has never been published; run the DAG that produces it")
        return delta

    def tables(self, use_case: str) -> list[str]:
        """Return the names of all published tables of ``use_case``, sorted."""
        filesystem, base = self.files()
        found = []
        for layer in filesystem.get_file_info(pafs.FileSelector(f"{base}/{use_case}", allow_not_found=True)):
            for info in filesystem.get_file_info(pafs.FileSelector(layer.path, allow_not_found=True)):
                name = f"{use_case}/{layer.base_name}/{info.base_name}"
                if TABLE_NAME.fullmatch(name) and DeltaTable.is_deltatable(self.uri(name)):
                    found.append(name)
        return sorted(found)

    def version(self, table: str) -> int | None:
        """Return the Delta version of ``table``; ``None`` before its first publish."""
        delta = self.find(table)
        return None if delta is None else delta.version()

    # ---- partitions -------------------------------------------------------------------------

    def published(self, table: str, keys: Iterable[str]) -> frozenset[str]:
        """Return those of ``keys`` that have been published, partitions without rows included."""
        delta = self.find(table)
        return frozenset() if delta is None else delta_log.published(delta, keys)

    def keys(self, table: str) -> list[str]:
        """Return the keys of all published partitions that have rows, in order."""
        delta = self.find(table)
        return [] if delta is None else sorted(part["ds"] for part in delta.partitions())

    def require(self, table: str, keys: Sequence[str]) -> None:
        """Raise ``MissingPartitions`` unless every key has been published."""
        have = self.published(table, keys)
        missing = [key for key in keys if key not in have]
        if missing:
            raise MissingPartitions(f"{table}: {listed(missing)} not published; run the DAG that produces it")

    def dataset(
        self,
        table: str,
        keys: Sequence[str] | None = None,
        version: int | None = None,
    ) -> ds.Dataset:
        """Return the rows of ``table`` as a pyarrow dataset: all partitions, or only ``keys``.

        Args:
            table: name of the table.
            keys: partitions to read; ``None`` for all.
            version: Delta version to read; ``None`` for the newest.

        Raises:
            MissingPartitions: the table has never been published.
        """
        delta = self.open(table, version)
        if keys is not None:
            return delta.to_pyarrow_dataset(file_pruning_predicate=[("ds", "in", list(keys))])
        return delta.to_pyarrow_dataset()

    def paths(self, table: str, keys: Sequence[str], version: int | None = None) -> list[str] | None:
        """Return the paths of the Parquet files of ``keys``, with Hive's ``ds=<key>`` folders in them.

        Returns ``None`` if the lake is not in a folder of this machine.

        Raises:
            MissingPartitions: the table has never been published.
        """
        if "://" in self.root:
            return None
        return sorted(delta_log.file_paths(self.open(table, version), [("ds", "in", list(keys))]))

    def file_columns(self, table: str, version: int | None = None) -> dict[str, str] | None:
        """Return the DuckDB type of each column of the files of ``table``, if some files may lack some of them.

        A reader of ``paths`` must then name the columns: files from before a column was added do not have it.

        Raises:
            MissingPartitions: the table has never been published.
        """
        return columns.in_files(self.open(table, version).schema())

    # ---- records ----------------------------------------------------------------------------

    def fingerprints(self, table: str, keys: Sequence[str], version: int | None = None) -> dict[str, str]:
        """Return the content fingerprint of each published key of ``keys``, as of a version of the table."""
        return _fingerprints(self.open(table, version), table, keys)

    def inputs(self, table: str, keys: Sequence[str]) -> Input:
        """Return the entry for ``keys`` of ``table`` in the publish record of an attempt that reads them."""
        delta = self.open(table)
        found = _fingerprints(delta, table, keys)
        combined = fingerprint.combine(f"{key}={found[key]}" for key in sorted(found))
        return Input(delta.version(), min(keys), max(keys), combined)

    def records(self, table: str, keys: Iterable[str] | None = None, version: int | None = None) -> dict[str, Record]:
        """Return the newest publish record of each of ``keys``, or of every partition, as of a version of the table."""
        delta = self.find(table, version)
        if delta is None:
            return {}
        wanted = None if keys is None else delta_log.published(delta, keys)
        return {record.key: record for record in records.newest(delta, table, wanted)}

    def history(self, table: str) -> list[Record]:
        """Return all publish records of all partitions, newest first."""
        delta = self.find(table)
        if delta is None:
            return []
        return [record for commit in delta_log.commits(delta) for record in records.of_commit(table, commit)]


@dataclass(frozen=True)
class _MomentReader(LakeReader):
    """The reader that ``at_one_moment`` gives."""

    # by table and version asked for; None stands for a table that had no version yet
    _opened: dict[tuple[str, int | None], DeltaTable | None] = field(default_factory=dict, compare=False, repr=False)

    def at_one_moment(self) -> LakeReader:
        return self

    def find(self, table: str, version: int | None = None) -> DeltaTable | None:
        if (table, version) not in self._opened:
            delta = super().find(table, version)
            self._opened[table, version] = delta
            if delta is not None:
                self._opened[table, delta.version()] = delta
        return self._opened[table, version]


def listed(keys: Sequence[str]) -> str:
    """Return ``keys`` as text for a message: the first seven, and how many there are in all."""
    shown = ", ".join(sorted(keys)[:7])
    return shown if len(keys) <= 7 else f"{shown}, ... ({len(keys)} in all)"


def _fingerprints(delta: DeltaTable, table: str, keys: Sequence[str]) -> dict[str, str]:
    found = records.newest(delta, table, delta_log.published(delta, keys))
    return {record.key: record.fingerprint for record in found}


@cache
def _files(root: str) -> tuple[pafs.FileSystem, str]:
    # cached: pyarrow asks S3 for the bucket's region each time
    if "://" not in root:
        return pafs.LocalFileSystem(), root
    # a small file is written by one request instead of three
    options = "?allow_delayed_open=true" if root.startswith("s3://") else ""
    filesystem, base = pafs.FileSystem.from_uri(f"{root}{options}")
    return filesystem, base
