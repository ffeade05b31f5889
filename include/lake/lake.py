"""The lake: Delta tables that change only by whole, audited partitions.

A table is named ``<use case>/<layer>/<name>`` and partitioned by ``ds``. Rows are first *staged*:
Parquet files in a folder of their own that no reader sees. ``publish`` moves the staged files into
the table's folder and makes them visible, all partitions at once, in one Delta commit. A kill
before that commit leaves invisible files, which maintenance removes. A kill after it leaves a
finished publish: the retry recognises it by its fingerprint and does not repeat it.

Every commit carries a record (``Record``) and one Delta app transaction per partition. These make two
writers of one partition conflict, while writers of different partitions pass each other.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.exceptions import CommitFailedError

from include.core import fault_points
from include.core.errors import LateAttempt, PublishConflict, StaleStage
from include.lake import columns, delta_log, records, table_files
from include.lake.reader import LakeReader, listed
from include.lake.records import Attempt, Input, Publication
from include.lake.staging import Stage, StageWriter, make_folder

RETRIES = 12


@dataclass(frozen=True)
class Lake(LakeReader):
    """Every Delta table under one root, to read, to stage rows for, and to publish.

    Attributes:
        root: a folder, or an ``s3://`` address.
        threads: number of threads that write one stage.
    """

    threads: int = 1

    def folder(self, table: str) -> str:
        """Return the path of the table's folder in the filesystem of ``files``."""
        return f"{self.files()[1]}/{table}"

    # ---- stage ------------------------------------------------------------------------------

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

        The folder is named by table, DAG run and attempt, so attempts never write over each other.

        Args:
            table: name of the table that the rows are meant for.
            batches: the rows, with a column ``ds``.
            keys: partitions to stage; one without rows is staged as an empty partition.
            attempt: who stages.
            order: the table's unique key. Rows of a partition are sorted by it, so that equal content has an
                equal fingerprint.
            inputs: the partitions that were read, by table, for the publish record.
            notes: figures for the publish record.

        Raises:
            RowsRefused: the ``ds`` of a row is not among ``keys``, the rows are not sorted by ``ds``, or a type or
                value cannot be stored.
        """
        version = self.version(table)
        filesystem, root = self.files()
        folder = f"{root}/_stages/{table}/{_slug(attempt)}-{attempt.number}"
        read = {name: asdict(value) for name, value in (inputs or {}).items()}
        base = -1 if version is None else version
        writer = StageWriter(filesystem, folder, table, tuple(keys), read, dict(notes or {}), self.threads, base)
        return writer.write(batches, tuple(order))

    def open_stage(self, path: str) -> Stage:
        """Open the stage that an earlier task wrote to ``path``.

        Raises:
            LifecycleError: the folder holds no finished stage.
        """
        return Stage.read(self.files()[0], path)

    def discard(self, stage: Stage) -> None:
        """Delete the staged rows that publishing left behind; maintenance removes the manifest later.

        A publish that is retried after a kill reads the manifest and finds its work done. The folders of the
        published files are empty now and stay until maintenance as well: removing each costs more than the publish.
        """
        filesystem, _ = self.files()
        staged = {f"{stage.path}/{part.file}" for part in stage.partitions.values() if part.rows}
        left = filesystem.get_file_info(pafs.FileSelector(stage.path, allow_not_found=True, recursive=True))
        for info in left:
            if info.path in staged:
                filesystem.delete_file(info.path)

    # ---- publish ----------------------------------------------------------------------------

    def publish(
        self,
        stage: Stage,
        attempt: Attempt,
        report: str | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> Publication:
        """Make the stage's partitions visible in one commit; skip partitions whose content is published already.

        Columns that the table lacks are added to it in the same commit; its other partitions read null there.
        A partition is not skipped if a file of it is missing or has another size than published: it is published anew.

        Raises:
            LateAttempt: a later attempt of this task has claimed or published the table.
            PublishConflict: other writers of the same partitions won every retry.
            SchemaMismatch: the stage lacks a column of the table, or has it with another type.
            StaleStage: a partition was published with other content after the stage was made.
        """
        self._claim(stage.table, attempt)
        fault_points.reached("publish.claimed", stage.table)
        meta = records.meta_of(attempt, stage.inputs, report, {**stage.notes, **(notes or {})})
        delta = self.find(stage.table) or table_files.create(self.uri(stage.table), stage.schema())
        columns.with_staged(delta, stage)
        for retry in range(RETRIES):
            done = self._publish_once(delta, stage, attempt, meta)
            if done is not None:
                return done
            time.sleep(random.uniform(0, 0.05 * 2 ** min(retry, 5)))
            delta.update_incremental()
        raise PublishConflict(
            f"{stage.table}: {RETRIES} attempts to publish {listed(stage.keys)} met other writers of the same "
            "partitions; run the task again when they have finished"
        )

    def _publish_once(
        self, delta: DeltaTable, stage: Stage, attempt: Attempt, meta: Mapping[str, Any]
    ) -> Publication | None:
        """Try to publish; return ``None`` if another commit came between and the try must be repeated."""
        attempt_id = f"run/{attempt.dag_id}/{attempt.run_id}"
        self._refuse_late(delta, stage.table, attempt, attempt_id)
        different = set(_changed(delta, stage))
        same = [key for key in stage.keys if key not in different]
        damaged = table_files.damaged(delta, self.files()[0], self.folder(stage.table), same)
        changed = sorted([*different, *damaged])
        fresh = frozenset(changed)
        unchanged = tuple(key for key in stage.keys if key not in fresh)
        if not changed:
            return Publication(stage.table, delta.version(), (), unchanged, stage.rows)
        partitions = {
            key: {"fingerprint": stage.partitions[key].fingerprint, "rows": stage.partitions[key].rows}
            for key in changed
        }
        wider = self._columns(delta, stage)
        note = columns.staged_additions(wider or delta.schema(), stage)
        moved = table_files.move_in(stage, self.folder(stage.table), changed)
        fault_points.reached("publish.before_commit", stage.table)
        properties = CommitProperties(
            custom_metadata=records.written({**meta, **note}, partitions),
            app_transactions=[
                *delta_log.partition_transactions(delta, changed),
                Transaction(attempt_id, attempt.number),
            ],
        )
        try:
            if wider is None:
                delta.create_write_transaction(
                    [*moved, *delta_log.removals(delta, changed)],
                    mode="append",
                    schema=delta.schema(),
                    partition_by=["ds"],
                    commit_properties=properties,
                )
            else:
                # only an overwrite commits a schema with the files; it removes the files of these partitions itself
                delta.create_write_transaction(
                    moved,
                    mode="overwrite",
                    schema=wider,
                    partition_by=["ds"],
                    partition_filters=[("ds", "in", changed)],
                    commit_properties=properties,
                )
        except CommitFailedError:
            return None
        fault_points.reached("publish.after_commit", stage.table)
        delta.update_incremental()
        return Publication(stage.table, delta.version(), tuple(changed), unchanged, stage.rows)

    def refuse_stale(self, stage: Stage) -> None:
        """Refuse a stage that ``publish`` would refuse, before another table is published.

        Raises:
            StaleStage: a partition was published with other content after the stage was made.
            SchemaMismatch: see ``publish``.
        """
        delta = self.find(stage.table)
        if delta is None:
            return
        columns.with_staged(delta, stage)
        if stage.base is not None and delta.version() > stage.base and _changed(delta, stage):
            self._columns(delta, stage)

    def _columns(self, delta: DeltaTable, stage: Stage) -> Schema | None:
        """Return the table's schema with the columns that the stage brings, ``None`` if it brings none.

        Raises:
            SchemaMismatch: see ``publish``.
        """
        wider = columns.with_staged(delta, stage)
        if set(columns.added(delta)) - set(stage.columns.names):
            begun = None if stage.base is None or stage.base < 0 else self.find(stage.table, stage.base)
            columns.refuse_lacking(delta, begun, stage)
        return wider

    # ---- fence ------------------------------------------------------------------------------

    def _claims(self, table: str, attempt: Attempt) -> str:
        return f"{self.files()[1]}/_attempts/{table}/{_slug(attempt)}"

    def _claim(self, table: str, attempt: Attempt) -> None:
        filesystem, _ = self.files()
        folder = self._claims(table, attempt)
        make_folder(filesystem, folder)
        with filesystem.open_output_stream(f"{folder}/{attempt.name}"):
            pass

    def _refuse_late(self, delta: DeltaTable, table: str, attempt: Attempt, attempt_id: str) -> None:
        filesystem, _ = self.files()
        claimed = filesystem.get_file_info(pafs.FileSelector(self._claims(table, attempt), allow_not_found=True))
        tries = [_claimed(info.base_name) for info in claimed]
        if (logged := delta.transaction_version(attempt_id) or 0) > attempt.number:
            tries.append((logged, _try_that_published(delta, table, attempt)))
        latest = max((number for number, try_id in tries if _overtakes(number, try_id, attempt)), default=0)
        if latest:
            raise LateAttempt(
                f"{table}: attempt {attempt.number} of {attempt.dag_id} {attempt.run_id} was overtaken by attempt "
                f"{latest}; nothing was published and nothing needs to be done"
            )


def _slug(attempt: Attempt) -> str:
    """Return a short folder name for the DAG run: run ids hold characters that paths should not."""
    return hashlib.sha256(f"{attempt.dag_id}/{attempt.run_id}".encode()).hexdigest()[:20]


def _claimed(name: str) -> tuple[int, str]:
    """Return the number and the id of the try whose claim has the file name ``name``."""
    number, _, try_id = name.partition("-")
    return int(number), try_id


def _overtakes(number: int, try_id: str, attempt: Attempt) -> bool:
    """Tell whether a try comes after ``attempt``: by its number, unless its id is one from before ``attempt``.

    Ids alone would not do: a scheduler whose clock is behind gives a retry an id before that of the try before it.
    """
    if number < attempt.number or (number, try_id) == (attempt.number, attempt.try_id):
        return False
    if not try_id or not attempt.try_id:
        return number > attempt.number
    return try_id >= attempt.try_id


def _try_that_published(delta: DeltaTable, table: str, attempt: Attempt) -> str:
    """Return the id of the last try of the DAG run of ``attempt`` that published; empty if it is not known."""
    for commit in delta_log.commits(delta):
        for record in records.of_commit(table, commit):
            if (record.attempt.dag_id, record.attempt.run_id) == (attempt.dag_id, attempt.run_id):
                return record.attempt.try_id
    return ""


def _changed(delta: DeltaTable, stage: Stage) -> list[str]:
    """Return the staged keys whose content, or the definition of it, is not the published one.

    Raises:
        StaleStage: one of them was published after the stage was made.
    """
    before = delta_log.published(delta, stage.keys)
    current = {record.key: record for record in records.newest(delta, stage.table, before)}
    definition = stage.notes.get(records.DEFINITION)
    changed = [
        key
        for key in stage.keys
        if key not in current
        or current[key].fingerprint != stage.partitions[key].fingerprint
        or definition not in (None, current[key].notes.get(records.DEFINITION))
    ]
    if stage.base is None:
        return changed
    newer = {key: current[key] for key in changed if key in current and current[key].version > stage.base}
    if newer:
        by = next(iter(newer.values())).attempt
        raise StaleStage(
            f"{stage.table}: {listed(list(newer))} changed since this stage was made: {by.dag_id} {by.run_id} "
            "published other rows, and these would put older ones back. Nothing was published. If the published rows "
            "are right, nothing needs to be done; else clear the task that staged these, with the tasks after it"
        )
    return changed
