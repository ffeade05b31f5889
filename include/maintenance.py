"""Maintenance of one use case's tables: fewer small files, and no file that nothing can need."""

from __future__ import annotations

import logging
import time
from collections import defaultdict

import pyarrow.fs as pafs
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from include.workspace import Workspace

_log = logging.getLogger(__name__)

# a file for each published partition is as it should be; only partitions that hold more are compacted
SMALL_FILE_BYTES = 64 * 2**20


def compact(workspace: Workspace) -> dict[str, int]:
    """Join the files of each partition that has several; returns how many files each table lost.

    A publish that commits meanwhile wins: its table is left for the next maintenance.
    """
    removed: dict[str, int] = {}
    for table, delta in _tables(workspace):
        try:
            metrics = delta.optimize.compact(target_size=SMALL_FILE_BYTES)
        except CommitFailedError:
            _log.info("%s: a publish came first; compacted next time", table)
            continue
        removed[table] = int(metrics["numFilesRemoved"]) - int(metrics["numFilesAdded"])
    return {table: count for table, count in removed.items() if count}


def vacuum(workspace: Workspace, retention_hours: int, dry_run: bool) -> dict[str, int]:
    """Delete files that are older than the retention and that no kept version needs; returns counts by table.

    Kept are the current version of every table, every version that a training set was frozen from, and every
    version of the training sets, the ledger and the predictions, whatever their age. Stages and claims of
    runs that ended longer ago than the retention go as well.
    """
    keep = pinned_versions(workspace)
    deleted: dict[str, int] = {}
    for table, delta in _tables(workspace):
        if table.split("/")[1] in ("training", "ledger", "predictions"):
            continue
        kept = sorted(keep[table] | {delta.version()})
        files = delta.vacuum(
            retention_hours, dry_run=dry_run, enforce_retention_duration=False, full=True, keep_versions=kept
        )
        deleted[table] = len(files)
    deleted["stages"] = _old_folders(workspace, retention_hours, dry_run)
    return {table: count for table, count in deleted.items() if count}


def pinned_versions(workspace: Workspace) -> dict[str, set[int]]:
    """The versions of each table that a training set was frozen from."""
    pinned: dict[str, set[int]] = defaultdict(set)
    for table, _ in _tables(workspace):
        if table.split("/")[1] != "training":
            continue
        for record in workspace.lake.history(table):
            for source, value in record.inputs.items():
                pinned[source].add(value.version)
    return pinned


def _tables(workspace: Workspace) -> list[tuple[str, DeltaTable]]:
    return [(table, workspace.lake.open(table)) for table in workspace.lake.tables(workspace.case.name)]


def _old_folders(workspace: Workspace, retention_hours: int, dry_run: bool) -> int:
    """Stages and attempt claims whose newest file is older than the retention."""
    filesystem, base = workspace.lake.files()
    limit = time.time() - retention_hours * 3600
    count = 0
    for kind in ("_stages", "_attempts"):
        root = f"{base}/{kind}/{workspace.case.name}"
        for folder in _leaves(filesystem, root, depth=3):
            infos = filesystem.get_file_info(pafs.FileSelector(folder, recursive=True))
            if infos and max(info.mtime.timestamp() for info in infos) < limit:
                count += 1
                if not dry_run:
                    filesystem.delete_dir(folder)
    return count


def _leaves(filesystem: pafs.FileSystem, root: str, depth: int) -> list[str]:
    """The folders ``depth`` levels below ``root``: layer, table, run."""
    folders = [root]
    for _ in range(depth):
        below = [filesystem.get_file_info(pafs.FileSelector(f, allow_not_found=True)) for f in folders]
        folders = [info.path for infos in below for info in infos if info.type == pafs.FileType.Directory]
    return folders
