"""The lake: Delta tables that change only by whole, audited partitions.

A table is named ``<use case>/<layer>/<name>`` and partitioned by ``ds``. Rows are first *staged*:
Parquet files in a folder of their own that no reader sees. ``publish`` moves the staged files into
the table's folder and makes them visible, all partitions at once, in one Delta commit. A kill
before that commit leaves invisible files, which maintenance removes; a kill after it leaves a
finished publish, which the retry recognises by its fingerprint and does not repeat.

Every commit carries a record (``Record``) and one Delta app transaction per partition, which makes two
writers of one partition conflict while writers of different partitions pass each other.
"""

from __future__ import annotations

import hashlib
import random
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from include.core.errors import LateAttempt, MissingPartitions, PromotionConflict, PublishConflict, SchemaMismatch
from include.lake import delta_log, fingerprint, records, snapshot
from include.lake.records import Attempt, Input, Publication, Record
from include.lake.staging import Stage, StageWriter, has_folders, make_folder

TABLE_NAME = re.compile(
    r"[a-z][a-z0-9_]*/(raw|features|predictions|training|monitoring|ledger|quarantine)/[a-z][a-z0-9_]*"
)
RETRIES = 12
REQUESTS = 16  # at once, to a lake that is not on this machine
# the log holds the records: Delta must never expire them by itself
TABLE_PROPERTIES = {
    "delta.enableExpiredLogCleanup": "false",
    "delta.logRetentionDuration": "interval 36500 days",
    # opening a table reads all commits since the last checkpoint; by default these are up to a hundred
    "delta.checkpointInterval": "10",
}


@dataclass(frozen=True)
class Lake:
    """Every Delta table under one root, a folder or an ``s3://`` address; it stages with ``threads`` threads."""

    root: str
    threads: int = 1

    # ---- where things are -------------------------------------------------------------------

    def uri(self, table: str) -> str:
        """The address of ``table``'s Delta log and files."""
        if not TABLE_NAME.fullmatch(table):
            raise ValueError(f"{table!r} is no table name; write it as flights/raw/outcomes")
        return f"{self.root}/{table}"

    def files(self) -> tuple[pafs.FileSystem, str]:
        """The filesystem that holds the lake, and the root's path in it."""
        return _files(self.root)

    def _open(self, table: str, version: int | None = None) -> DeltaTable | None:
        try:
            return snapshot.open_table(self.uri(table), version)
        except TableNotFoundError:
            return None

    def open(self, table: str, version: int | None = None) -> DeltaTable:
        """The Delta table behind ``table``, for maintenance.

        Raises:
            MissingPartitions: the table has never been published.
        """
        delta = self._open(table, version)
        if delta is None:
            raise MissingPartitions(f"{table} has never been published; run the DAG that produces it")
        return delta

    def tables(self, use_case: str) -> list[str]:
        """Every table of a use case that has been published, by name."""
        filesystem, base = self.files()
        found = []
        for layer in filesystem.get_file_info(pafs.FileSelector(f"{base}/{use_case}", allow_not_found=True)):
            for info in filesystem.get_file_info(pafs.FileSelector(layer.path, allow_not_found=True)):
                name = f"{use_case}/{layer.base_name}/{info.base_name}"
                if TABLE_NAME.fullmatch(name) and self._open(name) is not None:
                    found.append(name)
        return sorted(found)

    # ---- stage --------------------------------------------------------------------------------

    def stage(
        self,
        table: str,
        batches: pa.RecordBatchReader,
        keys: Sequence[str],
        attempt: Attempt,
        order: Sequence[str],
        inputs: Mapping[str, Input] | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> Stage:
        """Write ``batches`` (sorted by ``ds``) beside the table, invisible to readers.

        Within a partition rows are sorted by ``order``, the table's unique key, so that equal content
        has an equal fingerprint. ``inputs`` and ``notes`` end up in the publish record.
        Every key in ``keys`` becomes a staged partition, if need be one without rows. The folder is
        named by table, run and attempt, so attempts never write over each other.

        Raises:
            ValueError: a row's ``ds`` is not among ``keys``, or the rows are not sorted by ``ds``.
        """
        self.uri(table)
        filesystem, base = self.files()
        folder = f"{base}/_stages/{table}/{_slug(attempt)}-{attempt.number}"
        read = {name: asdict(value) for name, value in (inputs or {}).items()}
        writer = StageWriter(filesystem, folder, table, tuple(keys), read, dict(notes or {}), self.threads)
        return writer.write(batches, tuple(order))

    def open_stage(self, path: str) -> Stage:
        """The stage that an earlier task wrote to ``path``."""
        return Stage.read(self.files()[0], path)

    def discard(self, stage: Stage) -> None:
        """Delete the rows that a published stage left behind; its manifest stays until maintenance.

        A publish that is retried after a kill reads the manifest and finds its work done. What was published
        has been moved away: the folders that are empty now go with the manifest, since removing each costs
        more than the publish.
        """
        filesystem, _ = self.files()
        staged = {f"{stage.path}/{part.file}" for part in stage.partitions.values() if part.rows}
        left = filesystem.get_file_info(pafs.FileSelector(stage.path, allow_not_found=True, recursive=True))
        for info in left:
            if info.path in staged:
                filesystem.delete_file(info.path)

    # ---- publish ------------------------------------------------------------------------------

    def publish(
        self,
        stage: Stage,
        attempt: Attempt,
        report: str | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> Publication:
        """Make the stage's partitions what readers see, in one commit; skip those that say the same already.

        Raises:
            LateAttempt: a later attempt of this run has claimed or published the table.
            PublishConflict: other writers of the same partitions won every retry.
            SchemaMismatch: the staged columns are not the table's.
        """
        self._claim(stage.table, attempt)
        meta = records.meta_of(attempt, stage.inputs, report, {**stage.notes, **(notes or {})})
        delta = self._open(stage.table) or self._create(stage.table, stage.schema())
        _refuse_other_columns(delta, stage)
        for retry in range(RETRIES):
            done = self._publish_once(delta, stage, attempt, meta)
            if done is not None:
                return done
            time.sleep(random.uniform(0, 0.05 * 2 ** min(retry, 5)))
            delta.update_incremental()
        raise PublishConflict(
            f"{stage.table}: {RETRIES} attempts to publish {_span(stage.keys)} met other writers of the same "
            "partitions; run the task again when they have finished"
        )

    def _publish_once(
        self, delta: DeltaTable, stage: Stage, attempt: Attempt, meta: Mapping[str, Any]
    ) -> Publication | None:
        """One try; ``None`` when another commit came between and the try must be repeated."""
        attempt_id = f"run/{attempt.dag_id}/{attempt.run_id}"
        self._refuse_late(delta, stage.table, attempt, attempt_id)
        before = delta_log.published(delta, stage.keys)
        current = {record.key: record.fingerprint for record in records.newest(delta, stage.table, before)}
        changed = [key for key in stage.keys if current.get(key) != stage.partitions[key].fingerprint]
        unchanged = tuple(key for key in stage.keys if key not in set(changed))
        rows = sum(stage.partitions[key].rows for key in stage.keys)
        if not changed:
            return Publication(stage.table, delta.version(), (), unchanged, rows)
        partitions = {
            key: {"fingerprint": stage.partitions[key].fingerprint, "rows": stage.partitions[key].rows}
            for key in changed
        }
        try:
            delta.create_write_transaction(
                [*self._move_in(stage, changed), *delta_log.removals(delta, changed)],
                mode="append",
                schema=delta.schema(),
                partition_by=["ds"],
                commit_properties=CommitProperties(
                    custom_metadata=records.written(meta, partitions),
                    app_transactions=[
                        *delta_log.partition_transactions(delta, changed),
                        Transaction(attempt_id, attempt.number),
                    ],
                ),
            )
        except CommitFailedError:
            return None
        delta.update_incremental()
        return Publication(stage.table, delta.version(), tuple(changed), unchanged, rows)

    def _create(self, table: str, schema: pa.Schema) -> DeltaTable:
        # whoever creates it at the same moment makes it the same
        with suppress(CommitFailedError):
            DeltaTable.create(
                self.uri(table),
                schema,
                mode="ignore",
                partition_by=["ds"],
                configuration=TABLE_PROPERTIES,
            )
        return DeltaTable(self.uri(table))

    def _move_in(self, stage: Stage, keys: Iterable[str]) -> list[AddAction | RemoveAction]:
        """Move staged files under the table; moving again after a lost commit finds them there."""
        filesystem, base = self.files()
        attempt = hashlib.sha256(stage.path.encode()).hexdigest()[:12]

        def moved(key: str) -> AddAction | RemoveAction:
            part = stage.partitions[key]
            path = f"ds={key}/{part.fingerprint[:16]}-{attempt}.parquet"
            target = f"{base}/{stage.table}/{path}"
            if filesystem.get_file_info(target).type == pafs.FileType.NotFound:
                make_folder(filesystem, f"{base}/{stage.table}/ds={key}")
                filesystem.move(f"{stage.path}/{part.file}", target)
            return delta_log.added(key, path, part.bytes, part.statistics)

        filled = [key for key in keys if stage.partitions[key].rows]
        if has_folders(filesystem):
            return [moved(key) for key in filled]
        # a file is moved by three requests, which are waited for
        with ThreadPoolExecutor(REQUESTS) as pool:
            return list(pool.map(moved, filled))

    # ---- fencing ------------------------------------------------------------------------------

    def _claims(self, table: str, attempt: Attempt) -> str:
        return f"{self.files()[1]}/_attempts/{table}/{_slug(attempt)}"

    def _claim(self, table: str, attempt: Attempt) -> None:
        filesystem, _ = self.files()
        folder = self._claims(table, attempt)
        make_folder(filesystem, folder)
        with filesystem.open_output_stream(f"{folder}/{attempt.number}"):
            pass

    def _refuse_late(self, delta: DeltaTable, table: str, attempt: Attempt, attempt_id: str) -> None:
        filesystem, _ = self.files()
        claimed = filesystem.get_file_info(pafs.FileSelector(self._claims(table, attempt), allow_not_found=True))
        latest = max([int(info.base_name) for info in claimed] + [delta.transaction_version(attempt_id) or 0])
        if latest > attempt.number:
            raise LateAttempt(
                f"{table}: attempt {attempt.number} of {attempt.dag_id} {attempt.run_id} was overtaken by attempt "
                f"{latest}; nothing was published and nothing needs to be done"
            )

    # ---- read ---------------------------------------------------------------------------------

    def version(self, table: str) -> int | None:
        """The table's current Delta version; ``None`` before its first publish."""
        delta = self._open(table)
        return None if delta is None else delta.version()

    def published(self, table: str, keys: Iterable[str]) -> frozenset[str]:
        """Those of ``keys`` that have been published, empty partitions included."""
        delta = self._open(table)
        if delta is None:
            return frozenset()
        return delta_log.published(delta, keys)

    def keys(self, table: str) -> list[str]:
        """Every published partition that has rows, in order."""
        delta = self._open(table)
        return [] if delta is None else sorted(part["ds"] for part in delta.partitions())

    def require(self, table: str, keys: Sequence[str]) -> None:
        """Raise ``MissingPartitions`` unless every key has been published."""
        have = self.published(table, keys)
        missing = [key for key in keys if key not in have]
        if missing:
            raise MissingPartitions(f"{table}: {_span(missing)} not published; run the DAG that produces it")

    def dataset(
        self,
        table: str,
        keys: Sequence[str] | None = None,
        version: int | None = None,
    ) -> ds.Dataset:
        """The table's rows as a pyarrow dataset, all or those of ``keys``.

        ``version`` reads an earlier state of the table.

        Raises:
            MissingPartitions: the table has never been published.
        """
        delta = self.open(table, version)
        if keys is not None:
            return delta.to_pyarrow_dataset(file_pruning_predicate=[("ds", "in", list(keys))])
        return delta.to_pyarrow_dataset()

    def fingerprints(self, table: str, keys: Sequence[str], version: int | None = None) -> dict[str, str]:
        """The content of each of ``keys``, as of a version of the table."""
        delta = self.open(table, version)
        return {
            record.key: record.fingerprint for record in records.newest(delta, table, delta_log.published(delta, keys))
        }

    def paths(self, table: str, keys: Sequence[str], version: int | None = None) -> list[str] | None:
        """The Parquet files of ``keys``, with ``ds`` in their paths as Hive writes it; ``None`` unless in a folder.

        Raises:
            MissingPartitions: the table has never been published.
        """
        if "://" in self.root:
            return None
        return sorted(self.open(table, version).file_uris(file_pruning_predicate=[("ds", "in", list(keys))]))

    def inputs(self, table: str, keys: Sequence[str]) -> Input:
        """What a run that reads ``keys`` of ``table`` records about it."""
        delta = self.open(table)
        found = {
            record.key: record.fingerprint for record in records.newest(delta, table, delta_log.published(delta, keys))
        }
        combined = fingerprint.combine(f"{key}={found[key]}" for key in sorted(found))
        return Input(delta.version(), min(keys), max(keys), combined)

    def records(self, table: str, keys: Iterable[str] | None = None) -> dict[str, Record]:
        """The last publish of each of ``keys`` (of every partition, when not given)."""
        delta = self._open(table)
        if delta is None:
            return {}
        wanted = None if keys is None else delta_log.published(delta, keys)
        return {record.key: record for record in records.newest(delta, table, wanted)}

    def history(self, table: str) -> list[Record]:
        """Every publish of every partition, newest first."""
        delta = self._open(table)
        if delta is None:
            return []
        return [record for commit in delta_log.commits(delta) for record in records.of_commit(table, commit)]

    # ---- compare and swap ---------------------------------------------------------------------

    def append(self, table: str, rows: pa.Table, key: str, attempt: Attempt, expected: int) -> int:
        """Append ``rows`` as the ``expected + 1``-th entry of a ledger; returns the new count.

        Raises:
            PromotionConflict: another entry was appended since ``expected`` was read; nothing changed.
        """
        delta = self._open(table) or self._create(table, rows.schema.append(pa.field("ds", pa.string())))
        conflict = PromotionConflict(
            f"{table}: entry {expected + 1} was written by somebody else; nothing was changed, decide again"
        )
        if self.entries(table) != expected:
            raise conflict
        sorted_rows = rows.append_column("ds", pa.array([key] * rows.num_rows, pa.string()))
        stage = self.stage(table, sorted_rows.to_reader(), [key], attempt, order=())
        partition = {"fingerprint": stage.partitions[key].fingerprint, "rows": rows.num_rows}
        try:
            delta.create_write_transaction(
                self._move_in(stage, [key]),
                mode="append",
                schema=delta.schema(),
                partition_by=["ds"],
                commit_properties=CommitProperties(
                    custom_metadata=records.written(records.meta_of(attempt), {key: partition}),
                    app_transactions=[Transaction("ledger", expected + 1)],
                ),
            )
        except CommitFailedError as error:
            raise conflict from error
        self.discard(stage)
        return expected + 1

    def entries(self, table: str) -> int:
        """How many entries ``append`` has written to a ledger."""
        delta = self._open(table)
        return 0 if delta is None else delta.transaction_version("ledger") or 0


@cache
def _files(root: str) -> tuple[pafs.FileSystem, str]:
    """The filesystem of an address, which is asked once where it lies."""
    if "://" not in root:
        return pafs.LocalFileSystem(), root
    # a small file is written by one request instead of three
    options = "?allow_delayed_open=true" if root.startswith("s3://") else ""
    filesystem, base = pafs.FileSystem.from_uri(f"{root}{options}")
    return filesystem, base


def _slug(attempt: Attempt) -> str:
    """A short folder name for a run: run ids hold characters that paths should not."""
    return hashlib.sha256(f"{attempt.dag_id}/{attempt.run_id}".encode()).hexdigest()[:20]


def _span(keys: Sequence[str]) -> str:
    """``keys`` for a message: the first few, and how many in all."""
    shown = ", ".join(sorted(keys)[:7])
    return shown if len(keys) <= 7 else f"{shown}, ... ({len(keys)} in all)"


def _refuse_other_columns(delta: DeltaTable, stage: Stage) -> None:
    have = {field.name: field.type for field in pa.schema(delta.schema().to_arrow())}
    want = {field.name: field.type for field in stage.schema()}
    faults = [f"{name} is missing" for name in have if name not in want]
    faults += [f"{name} is new" for name in want if name not in have]
    faults += [f"{n} is {want[n]}, not {have[n]}" for n in want if n in have and str(want[n]) != str(have[n])]
    if faults:
        raise SchemaMismatch(
            f"{stage.table}: the staged columns are not the table's: {'; '.join(faults)}; give the changed table "
            f"a new name. The stage is kept at {stage.path}"
        )


__all__ = ["Attempt", "Input", "Lake", "Publication", "Record", "Stage"]
