"""Maintenance of one use case: join small files of its tables, and delete files that no reader can need."""

from __future__ import annotations

import json
import shutil
import time
from collections import defaultdict
from pathlib import Path
from urllib.parse import unquote

import pyarrow.fs as pafs
from deltalake import DeltaTable

from include.lake import compaction, table_files
from include.steps.train import search
from include.steps.workspace import Workspace
from include.training.study.storage import at_rest

# tables that keep every version: all files that their log names stay
KEPT_WHOLE = ("training", "ledger", "predictions")
# stages and claims of attempts
OLD_FOLDERS = ("_stages", "_attempts")


def compact(workspace: Workspace) -> dict[str, int]:
    """Join the files of each partition that has several; return how many files each table lost.

    A publish leaves one file a partition, so only tables that are appended to have several. A publish that commits
    meanwhile wins: its table is left for the next maintenance.
    """
    removed = {table: compaction.compact(workspace.lake, table, delta) for table, delta in _tables(workspace)}
    return {table: count for table, count in removed.items() if count}


def vacuum(workspace: Workspace, retention_hours: int, dry_run: bool) -> dict[str, int]:
    """Delete files that are older than the retention and that no kept version needs; return counts by table.

    These versions are kept, however old: the current one of every table, every one that a training set was frozen
    from, and all versions of the training sets, the ledger and the predictions. Deleted are, when they are older
    than the retention: files of killed publishes, stages and claims of ended DAG runs, and files of searches. A
    study that has workers keeps its checkpoints; a study that is continued after its files were deleted only has
    to compute more.

    Raises:
        LinkInLake: a symbolic link lies among the files; nothing was deleted.
    """
    keep = pinned_versions(workspace)
    filesystem, base = workspace.lake.files()
    searched = [
        *workspace.lake.tables(workspace.case.name),
        *(f"{kind}/{workspace.case.name}" for kind in OLD_FOLDERS),
    ]
    table_files.refuse_links(filesystem, [f"{base}/{name}" for name in searched])
    limit = time.time() - retention_hours * 3600
    deleted: dict[str, int] = {}
    for table, delta in _tables(workspace):
        if table.split("/")[1] in KEPT_WHOLE:
            orphans = [path for path, modified in unnamed(workspace, table) if modified < limit]
            deleted[table] = len(orphans)
            if not dry_run:
                for path in orphans:
                    filesystem.delete_file(path)
        else:
            kept = sorted(keep[table] | {delta.version()})
            deleted[table] = _vacuum(workspace, table, delta, retention_hours, kept, dry_run)
    deleted["stages"] = _old_folders(workspace, retention_hours, dry_run)
    deleted["sweeps"] = _old_sweeps(workspace, limit, dry_run)
    return {table: count for table, count in deleted.items() if count}


def _vacuum(
    workspace: Workspace, table: str, delta: DeltaTable, retention_hours: int, kept: list[int], dry_run: bool
) -> int:
    """Vacuum one table and return how many files that deletes; Delta also lists files that are deleted already."""
    filesystem, base = workspace.lake.files()

    def run(dry: bool) -> list[str]:
        return delta.vacuum(retention_hours, dry, enforce_retention_duration=False, full=True, keep_versions=kept)

    listed = [f"{base}/{table}/{path}" for path in run(True)]
    found = len([info for info in filesystem.get_file_info(listed) if info.type == pafs.FileType.File])
    if found and not dry_run:
        run(False)
    return found


def unnamed(workspace: Workspace, table: str) -> list[tuple[str, float]]:
    """Return data files of ``table`` that no commit ever named, with the time of their last change."""
    filesystem, base = workspace.lake.files()
    root = f"{base}/{table}"
    # list the files before the log: a file that is committed after this is then found in the log
    files = filesystem.get_file_info(pafs.FileSelector(root, recursive=True))
    named = set()
    for info in filesystem.get_file_info(pafs.FileSelector(f"{root}/_delta_log")):
        if info.extension == "json":
            with filesystem.open_input_stream(info.path) as stream:
                actions = [json.loads(line) for line in stream.read().splitlines()]
            named |= {f"{root}/{unquote(action['add']['path'])}" for action in actions if "add" in action}
    return [
        (info.path, info.mtime.timestamp())
        for info in files
        if info.extension == "parquet" and "/_delta_log/" not in info.path and info.path not in named
    ]


def pinned_versions(workspace: Workspace) -> dict[str, set[int]]:
    """Return the versions of each table that a training set was frozen from."""
    pinned: dict[str, set[int]] = defaultdict(set)
    for table in workspace.lake.tables(workspace.case.name):
        if table.split("/")[1] != "training":
            continue
        for record in workspace.lake.history(table):
            for source, value in record.inputs.items():
                pinned[source].add(value.version)
    return pinned


def _tables(workspace: Workspace) -> list[tuple[str, DeltaTable]]:
    return [(table, workspace.lake.open(table)) for table in workspace.lake.tables(workspace.case.name)]


def _old_folders(workspace: Workspace, retention_hours: int, dry_run: bool) -> int:
    """Delete stages and attempt claims whose newest file is older than the retention; return how many."""
    filesystem, base = workspace.lake.files()
    limit = time.time() - retention_hours * 3600
    count = 0
    for kind in OLD_FOLDERS:
        root = f"{base}/{kind}/{workspace.case.name}"
        for folder in _leaves(filesystem, root, depth=3):
            infos = filesystem.get_file_info(pafs.FileSelector(folder, recursive=True))
            # object storage has no folders, so they have no modification time
            changed = [info.mtime.timestamp() for info in infos if info.mtime is not None]
            if changed and max(changed) < limit:
                count += 1
                if not dry_run:
                    filesystem.delete_dir(folder)
    return count


def _old_sweeps(workspace: Workspace, limit: float, dry_run: bool) -> int:
    """Delete studies' checkpoints and small shared files of searches not touched since ``limit``; return how many."""
    where, training = search.places(workspace), workspace.case.training
    count = 0
    for folder in sorted(where.checkpoints.glob("*")):
        signs = (training.heartbeat_seconds, training.grace_seconds)
        with at_rest(workspace.settings.optuna_storage, folder.name, *signs) as resting:
            if resting and _touched(folder) < limit:
                count += 1
                if not dry_run:
                    shutil.rmtree(folder)
    files = where.known.untouched(limit)
    if not dry_run:
        for path in files:
            path.unlink(missing_ok=True)
    return count + len(files)


def _touched(folder: Path) -> float:
    return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))


def _leaves(filesystem: pafs.FileSystem, root: str, depth: int) -> list[str]:
    """Return the folders ``depth`` levels below ``root``: layer, table, DAG run."""
    folders = [root]
    for _ in range(depth):
        below = [filesystem.get_file_info(pafs.FileSelector(f, allow_not_found=True)) for f in folders]
        folders = [info.path for infos in below for info in infos if info.type == pafs.FileType.Directory]
    return folders
