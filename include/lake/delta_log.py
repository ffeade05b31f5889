"""Actions and app transactions of the Delta log, as publishing and compaction write and read them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable, Transaction
from deltalake.transaction import AddAction, RemoveAction

RECORD = "lifecycle"
"""Name of the publish record in the metadata of a commit, beside Delta's own."""

_FEW = 8


def added(key: str, path: str, size: int, statistics: Mapping[str, Any], data_change: bool = True) -> AddAction:
    """Return the action that adds the file ``path`` in the table's folder, of ``size`` bytes, to partition ``key``."""
    return AddAction(path, size, {"ds": key}, _now(), data_change, json.dumps(dict(statistics)))


def file_paths(delta: DeltaTable, bounds: list[tuple[str, str, Any]] | None = None) -> list[str]:
    """Return the paths of the table's files in a folder of this machine; ``bounds`` leaves out files by statistics."""
    # Delta gives addresses, in which a space is %20
    return [unquote(address) for address in delta.file_uris(file_pruning_predicate=bounds)]


@dataclass(frozen=True)
class File:
    """A file of a table: its partition, its path in the table's folder, and its size."""

    key: str
    path: str
    bytes: int


def files(delta: DeltaTable) -> list[File]:
    """Return the files that hold the table's rows."""
    actions = pa.table(delta.get_add_actions(flatten=True)).select(["partition.ds", "path", "size_bytes"])
    return [File(row["partition.ds"], unquote(row["path"]), row["size_bytes"]) for row in actions.to_pylist()]


def removals(delta: DeltaTable, keys: Sequence[str], data_change: bool = True) -> list[RemoveAction]:
    """Return the actions that remove all files of ``keys`` from the table."""
    actions = pa.table(delta.get_add_actions(flatten=True)).select(["path", "size_bytes", "partition.ds"])
    wanted = set(keys)
    return [
        RemoveAction(row["path"], data_change, _now(), row["size_bytes"], {"ds": row["partition.ds"]})
        for row in actions.to_pylist()
        if row["partition.ds"] in wanted
    ]


def partition_transactions(delta: DeltaTable, keys: Iterable[str]) -> list[Transaction]:
    """Return one app transaction per key: two commits that change one partition conflict by it.

    Each is numbered by the version that the commit is going to be.
    """
    return [Transaction(_name(key), delta.version() + 1) for key in keys]


def published(delta: DeltaTable, keys: Iterable[str]) -> frozenset[str]:
    """Return those of ``keys`` that have been published."""
    asked = set(keys)
    found = asked & {part["ds"] for part in delta.partitions()}
    # a partition without rows has no file, only its transaction and its record
    without_file = asked - found
    if len(without_file) <= _FEW:
        # each look at a transaction reads the end of the log
        return frozenset(found | {key for key in without_file if delta.transaction_version(_name(key))})
    return frozenset(found | (without_file & _recorded(delta)))


def _recorded(delta: DeltaTable) -> set[str]:
    """Return the partitions of all publish records."""
    notes = [json.loads(commit[RECORD]) for commit in commits(delta) if RECORD in commit]
    return {key for note in notes for key in note["partitions"]}


def commits(delta: DeltaTable, limit: int | None = None) -> list[dict[str, Any]]:
    """Return the metadata of the last ``limit`` commits (or all) up to the version of ``delta``, newest first.

    ``DeltaTable.history`` (delta-rs 1.6) begins at the newest commit of the log even if ``delta`` is an earlier
    version, and numbers the newest commit by that earlier version. This function leaves out the later commits.
    """
    version = delta.version()
    count = version + 1 if limit is None else min(limit, version + 1)
    found = delta.history(limit)[-count:]
    return [{**commit, "version": version - age} for age, commit in enumerate(found)]


def _name(key: str) -> str:
    return f"partition/{key}"


def _now() -> int:
    """Return milliseconds of the wall clock, which the Delta log needs for vacuum; no data depends on them."""
    return int(time.time() * 1000)
