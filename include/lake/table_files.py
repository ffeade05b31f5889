"""The files of a table: create the table, and move staged files into its folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

from include.core import fault_points
from include.core.errors import LinkInLake
from include.lake import delta_log
from include.lake.staging import Stage, has_folders, make_folder

REQUESTS = 16  # at once, to a lake that is not on this machine
TABLE_PROPERTIES = {
    # the log holds the publish records: Delta must never expire them by itself
    "delta.enableExpiredLogCleanup": "false",
    "delta.logRetentionDuration": "interval 36500 days",
    # opening a table reads all commits since the last checkpoint; by default these are up to a hundred
    "delta.checkpointInterval": "10",
}


def damaged(delta: DeltaTable, filesystem: pafs.FileSystem, folder: str, keys: Iterable[str]) -> list[str]:
    """Return those of ``keys`` that have a file which is missing, or not as long as the table's log says."""
    wanted = set(keys)
    if not wanted:
        return []
    files = [part for part in delta_log.files(delta) if part.key in wanted]
    found = filesystem.get_file_info([f"{folder}/{part.path}" for part in files])
    lost = {part.key for part, info in zip(files, found, strict=True) if not info.is_file or info.size != part.bytes}
    return sorted(lost)


def create(uri: str, schema: pa.Schema) -> DeltaTable:
    """Create the Delta table at ``uri``, partitioned by ``ds``, unless it exists; return it opened."""
    # another process that creates the table at the same moment creates the same table
    with suppress(CommitFailedError):
        DeltaTable.create(uri, schema, mode="ignore", partition_by=["ds"], configuration=TABLE_PROPERTIES)
    return DeltaTable(uri)


def move_in(stage: Stage, folder: str, keys: Iterable[str]) -> list[AddAction | RemoveAction]:
    """Move the staged files of ``keys`` into the table's ``folder``; return the actions that add them.

    A file that a lost commit has moved already is found in the folder and not moved again.
    """
    filesystem = stage.filesystem
    attempt = hashlib.sha256(stage.path.encode()).hexdigest()[:12]

    def moved(key: str) -> AddAction | RemoveAction:
        part = stage.partitions[key]
        path = f"ds={key}/{part.fingerprint[:16]}-{attempt}.parquet"
        target = f"{folder}/{path}"
        # of another size it is what is left of a damaged one, and is replaced
        if (there := filesystem.get_file_info(target)).type == pafs.FileType.NotFound or there.size != part.bytes:
            make_folder(filesystem, f"{folder}/ds={key}")
            fault_points.reached("publish.before_move", stage.table)
            filesystem.move(f"{stage.path}/{part.file}", target)
        return delta_log.added(key, path, part.bytes, part.statistics)

    filled = [key for key in keys if stage.partitions[key].rows]
    if has_folders(filesystem):
        return [moved(key) for key in filled]
    # object storage moves a file by three requests: send those of several files at once
    with ThreadPoolExecutor(REQUESTS) as pool:
        return list(pool.map(moved, filled))


def refuse_links(filesystem: pafs.FileSystem, folders: Iterable[str]) -> None:
    """Raise if a symbolic link lies in one of ``folders``; a folder may be one itself, and object storage has none.

    Raises:
        LinkInLake: names every link. Delta's vacuum and Arrow follow links, and would delete files outside of the lake.
    """
    if not has_folders(filesystem):
        return
    # rglob lists links and does not enter them
    found = [str(path) for folder in folders for path in sorted(Path(folder).rglob("*")) if path.is_symlink()]
    if found:
        raise LinkInLake(
            f"symbolic links in the lake: {', '.join(found)}; nothing was deleted, because files outside of the lake "
            "would be deleted through them; find out who made them, remove them and run maintenance again"
        )
