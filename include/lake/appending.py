"""Append to a ledger by compare-and-swap: of two writers that read the same entries, one fails."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Field, Transaction
from deltalake.exceptions import CommitFailedError

from include.core import fault_points
from include.core.errors import PromotionConflict
from include.lake import delta_log, records, table_files
from include.lake.lake import Lake
from include.lake.records import Attempt, Record

_COUNTER = "ledger"
"""The app transaction that counts the entries: two commits that set it conflict."""


def is_ledger(delta: DeltaTable) -> bool:
    """Tell whether the rows of ``delta`` are entries that ``append`` has written."""
    return bool(delta.transaction_version(_COUNTER))


def records_of(delta: DeltaTable, table: str) -> Iterator[Record]:
    """Yield the records of all entries of a ledger, newest first."""
    for commit in delta_log.commits(delta):
        yield from records.of_commit(table, commit)


def append(lake: Lake, table: str, rows: pa.Table, key: str, attempt: Attempt, expected: int) -> int:
    """Append ``rows`` as entry number ``expected + 1`` of a ledger; return the new number of entries.

    Args:
        lake: the lake that holds the ledger.
        table: name of the ledger's table; it is created if need be.
        rows: the entry, without ``ds``. A column that the table lacks is added to it; older entries have null there.
        key: partition that takes the rows.
        attempt: who appends.
        expected: number of entries that the caller has read.

    Raises:
        PromotionConflict: another entry was appended since ``expected`` was read; nothing changed.
    """
    schema = rows.schema.append(pa.field("ds", pa.string()))
    delta = lake.find(table) or table_files.create(lake.uri(table), schema)
    conflict = PromotionConflict(
        f"{table}: entry {expected + 1} was written by another task meanwhile; nothing was changed, "
        "read the ledger and decide again"
    )
    if (delta.transaction_version(_COUNTER) or 0) != expected:
        raise conflict
    _add_columns(delta, schema, conflict)
    sorted_rows = rows.append_column("ds", pa.array([key] * rows.num_rows, pa.string()))
    sorted_rows = sorted_rows.select([field.name for field in delta.schema().fields])
    stage = lake.stage(table, sorted_rows.to_reader(), [key], attempt, order=())
    partition = {"fingerprint": stage.partitions[key].fingerprint, "rows": rows.num_rows}
    added = table_files.move_in(stage, lake.folder(table), [key])
    fault_points.reached("ledger.before_commit", table)
    try:
        delta.create_write_transaction(
            added,
            mode="append",
            schema=delta.schema(),
            partition_by=["ds"],
            commit_properties=CommitProperties(
                custom_metadata=records.written(records.meta_of(attempt), {key: partition}),
                app_transactions=[Transaction(_COUNTER, expected + 1)],
            ),
        )
    except CommitFailedError as error:
        raise conflict from error
    fault_points.reached("ledger.after_commit", table)
    lake.discard(stage)
    return expected + 1


def columns_of(lake: Lake, record: Record) -> tuple[str, ...]:
    """Return the columns of an entry's file, in the order of its fingerprint: a ledger may have got more since then."""
    names = [field.name for field in lake.open(record.table, record.version).schema().fields]
    return tuple(name for name in names if name != "ds")


def _add_columns(delta: DeltaTable, schema: pa.Schema, conflict: PromotionConflict) -> None:
    known = {field.name for field in delta.schema().fields}
    missing = [Field.from_arrow(field) for field in schema if field.name not in known]
    if not missing:
        return
    try:
        delta.alter.add_columns(missing)
    except CommitFailedError as error:
        raise conflict from error
    delta.update_incremental()
