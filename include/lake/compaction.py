"""Compaction: join the files of each partition that holds several, as carefully towards other writers as a publish.

Delta's own OPTIMIZE carries no app transaction, and deltalake 1.6.6 accepts a publish that removes files which an
OPTIMIZE has removed before it: the old rows would then stay beside the new ones.
"""

from __future__ import annotations

import uuid
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction

from include.lake import delta_log, file_statistics
from include.lake.delta_log import added, partition_transactions, removals
from include.lake.lake import Lake
from include.lake.staging import COMPRESSION


def compact(lake: Lake, table: str, delta: DeltaTable) -> int:
    """Join the files of all partitions that hold several, in one commit; return how many files fewer there are.

    ``delta`` is ``table`` as the caller opened it. If another publish came since then, nothing is changed.
    """
    paths = pa.table(delta.get_add_actions(flatten=True)).column("partition.ds").to_pylist()
    several = sorted(key for key, count in Counter(paths).items() if count > 1)
    if not several:
        return 0
    actions = [_joined(lake, table, delta, key) for key in several]
    removed = removals(delta, several, data_change=False)
    try:
        delta.create_write_transaction(
            [*actions, *removed],
            mode="append",
            schema=delta.schema(),
            partition_by=["ds"],
            commit_properties=CommitProperties(app_transactions=partition_transactions(delta, several)),
        )
    except CommitFailedError:
        return 0
    return len(removed) - len(actions)


def _joined(lake: Lake, table: str, delta: DeltaTable, key: str) -> AddAction:
    """Write the partition's rows to one new file, with the columns that its files have and no others.

    A column that was added to the table later stays out: the fingerprint of the partition does not cover it.
    """
    filesystem, base = lake.files()
    parts = [
        pq.read_table(f"{base}/{table}/{file.path}", filesystem=filesystem, partitioning=None)
        for file in delta_log.files(delta)
        if file.key == key
    ]
    rows = pa.concat_tables(parts, promote_options="default")
    path = f"ds={key}/joined-{uuid.uuid4().hex}.parquet"
    target = f"{base}/{table}/{path}"
    pq.write_table(rows, target, filesystem=filesystem, compression=COMPRESSION)
    return added(key, path, filesystem.get_file_info(target).size, file_statistics.of(rows), data_change=False)
