"""Verify a lake: read every partition again, and compare its rows with its publish record.

Run it for a use case, or without ``--use-case`` for all of them; a difference makes the exit status 1. With
``--set-aside`` the files of partitions that differ are renamed, so that the next DAG run for the partition publishes it
anew: the same content is not published twice, unless its file is missing.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from include.core import command, partitions
from include.core.errors import ContentDiffers, LifecycleError
from include.lake import appending, delta_log, fingerprint, records
from include.lake.records import Input, Record
from include.sources.adapter import REFERENCE
from include.spec.loading import load_use_cases
from include.steps import maintenance
from include.steps.workspace import Workspace

_REMEDY = (
    "bring the table's folder back from a backup of the same version. Without one, run `make verify SET_ASIDE=1`, "
    "which renames the files that differ, and then the DAG that produces the table, for these partitions: it publishes "
    "them anew. Until then a reader of these partitions fails"
)
_ASIDE, _LOG = ".damaged", "log"


@dataclass(frozen=True)
class Difference:
    """A partition whose rows are not those of its publish record.

    Attributes:
        table, version, key: the partition; the key is ``log`` for a fault of the table's Delta log, and the version -1
            if that cannot be read at all.
        fault: what is wrong, for a person.
        paths: its files in the table's folder, if publishing it anew can replace them.
    """

    table: str
    version: int
    key: str
    fault: str
    paths: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Write the difference for a person."""
        version = "" if self.version < 0 else f" (version {self.version})"
        return f"{self.table} {self.key}{version}: {self.fault}"


@dataclass(frozen=True)
class Verification:
    """The result of a verification.

    Attributes:
        partitions, rows: how many were read and compared.
        differences: the partitions that differ.
        unnamed: files in the folders of tables that no commit names: left by killed publishes, read by nobody.
    """

    partitions: int
    rows: int
    differences: tuple[Difference, ...]
    unnamed: tuple[str, ...]

    def raise_for_differences(self) -> None:
        """Raise ``ContentDiffers`` if a partition differs."""
        if self.differences:
            raise ContentDiffers([*map(str, self.differences), f"What to do: {_REMEDY}."])


def verify(workspace: Workspace) -> Verification:
    """Compare every partition of every table of the use case with its publish record.

    Compared are the current version of each table, those that a training set was frozen from, and all versions of
    training sets.
    """
    try:
        pinned = maintenance.pinned_versions(workspace)
    except DeltaError:
        # the log of a training set is damaged, which is named below
        pinned = {}
    differences: list[Difference] = []
    unnamed: list[str] = []
    compared = rows = 0
    current: dict[str, int] = {}
    for table in workspace.lake.tables(workspace.case.name):
        seen: set[tuple[str, ...]] = set()
        try:
            newest = workspace.lake.open(table)
        except DeltaError as error:
            differences.append(Difference(table, -1, _LOG, f"it cannot be read ({str(error).splitlines()[0]})"))
            continue
        current[table] = newest.version()
        differences += _faults_of_log(table, newest)
        replaceable: set[str] = (
            set() if appending.is_ledger(newest) else {file.path for file in delta_log.files(newest)}
        )
        for version in _versions(workspace, table, pinned):
            try:
                delta = workspace.lake.open(table, version)
            except DeltaError:
                fault = "this version cannot be read, and a training set was frozen from it"
                differences.append(Difference(table, version, _LOG, fault))
                continue
            files = _files(delta)
            for key, published in _records(delta, table).items():
                paths = tuple(sorted(files.pop(key, ())))
                if paths and paths in seen:
                    continue
                seen.add(paths)
                fault, count = _compare(workspace, table, paths, published)
                compared, rows = compared + 1, rows + count
                anew = paths if replaceable.issuperset(paths) else ()
                differences += [Difference(table, version, key, fault, anew)] if fault else []
            differences += [Difference(table, version, key, "no publish record names it") for key in sorted(files)]
        unnamed += [path for path, _ in maintenance.unnamed(workspace, table)]
    differences += _shortened(workspace, current)
    return Verification(compared, rows, tuple(differences), tuple(unnamed))


def set_aside(workspace: Workspace, found: Verification) -> list[str]:
    """Rename the files of the partitions that differ and can be published anew; return their old paths."""
    filesystem, root = workspace.lake.files()
    paths = [f"{root}/{one.table}/{path}" for one in found.differences for path in one.paths]
    there = [info.path for info in filesystem.get_file_info(paths) if info.is_file]
    for path in there:
        filesystem.move(path, path + _ASIDE)
    return there


def _faults_of_log(table: str, delta: DeltaTable) -> list[Difference]:
    """Return the log as a difference if it lacks commits, with which the publish records that they held are lost."""
    there, expected = len(delta_log.commits(delta)), delta.version() + 1
    lost = f"{expected - there} of its {expected} commits cannot be read, nor the publish records that they held"
    return [Difference(table, delta.version(), _LOG, lost)] if there < expected else []


def _shortened(workspace: Workspace, current: Mapping[str, int]) -> list[Difference]:
    """Return the tables of which another table has read a later version than the log has now, with other content.

    A table that was made anew with the same content is no difference.
    """
    later = {
        (source, value)
        for table in current
        for record in workspace.lake.history(table)
        for source, value in record.inputs.items()
        if source in current and value.version > current[source]
    }
    lost: dict[str, Input] = {}
    for source, then in sorted(later, key=lambda pair: pair[1].version):
        keys = [REFERENCE] if then.first == REFERENCE else partitions.key_range(then.first, then.last)
        if workspace.lake.inputs(source, keys).fingerprint != then.fingerprint:
            lost[source] = then
    return [
        Difference(source, current[source], _LOG, f"its newest commits are lost: version {then.version} has been read")
        for source, then in sorted(lost.items())
    ]


def _versions(workspace: Workspace, table: str, pinned: Mapping[str, set[int]]) -> list[int]:
    current = workspace.lake.open(table).version()
    if table.split("/")[1] == "training":
        return sorted({record.version for record in workspace.lake.history(table)} | {current})
    return sorted(pinned.get(table, set()) | {current})


def _files(delta: DeltaTable) -> dict[str, list[str]]:
    """Return the paths of the files of each partition, in the table's folder."""
    found: dict[str, list[str]] = defaultdict(list)
    for file in delta_log.files(delta):
        found[file.key].append(file.path)
    return found


def _records(delta: DeltaTable, table: str) -> dict[str, list[Record]]:
    """Return the records that tell the content of each partition: the newest, or of a ledger all of them."""
    found: dict[str, list[Record]] = defaultdict(list)
    if appending.is_ledger(delta):
        for record in appending.records_of(delta, table):
            found[record.key].append(record)
    else:
        for record in records.newest(delta, table, None):
            found[record.key].append(record)
    return found


def _compare(workspace: Workspace, table: str, paths: Sequence[str], published: list[Record]) -> tuple[str, int]:
    """Return what is wrong with a partition, empty for nothing, and how many rows were read."""
    expected = sum(record.rows for record in published)
    if not paths:
        return (f"{expected} rows were published, and the table names no file" if expected else ""), 0
    try:
        found = pa.concat_tables([_rows(workspace, table, path) for path in paths], promote_options="default")
    except (OSError, pa.ArrowException) as error:
        return str(error).splitlines()[0], 0
    if found.num_rows != expected:
        return f"{found.num_rows} rows are there, {expected} were published", found.num_rows
    if table.split("/")[1] == "ledger":
        same = _same_entries(workspace, found, published)
        return ("" if same else "an entry is not as it was appended"), expected
    content = fingerprint.of_table(found)
    if content != (recorded := published[0].fingerprint):
        return f"the rows have the fingerprint {content[:12]}, {recorded[:12]} was published", expected
    return "", expected


def _same_entries(workspace: Workspace, found: pa.Table, published: list[Record]) -> bool:
    """Compare the entries of a ledger with their records: appended in any order, and with fewer columns at first."""
    by_columns: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for record in published:
        by_columns[appending.columns_of(workspace.lake, record)].append(record.fingerprint)
    for columns, expected in by_columns.items():
        if not set(columns) <= set(found.column_names):
            return False
        there = Counter(fingerprint.of_parts(found.select(columns), [1] * found.num_rows))
        if not Counter(expected) <= there:
            return False
    return True


def _rows(workspace: Workspace, table: str, path: str) -> pa.Table:
    """Read one file whole.

    Raises:
        OSError: it is missing, or no Parquet; its footer or a page is damaged.
    """
    filesystem, root = workspace.lake.files()
    full = f"{root}/{table}/{path}"
    if filesystem.get_file_info(full).type != pafs.FileType.File:
        raise FileNotFoundError(f"{path} is missing")
    try:
        return pq.read_table(full, filesystem=filesystem, partitioning=None, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise OSError(f"{path} cannot be read ({str(error).splitlines()[0]})") from error


# ---- the command ----------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m include.steps.verify", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--use-case", help="all, if none is given")
    parser.add_argument("--set-aside", action="store_true", help="rename the files of partitions that differ")
    asked = parser.parse_args(arguments)
    try:
        names = [asked.use_case] if asked.use_case else [case.name for case in load_use_cases()]
        same = [_report(name, asked.set_aside) for name in names]
    except LifecycleError as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if all(same) else 1


def _report(name: str, aside: bool) -> bool:
    workspace = Workspace.open(name)
    found = verify(workspace)
    for line in _lines(name, found):
        print(line)
    if aside:
        for path in set_aside(workspace, found):
            print(f"renamed to {path}{_ASIDE}; run the DAG that produces the table for this partition")
    return not found.differences


def _lines(name: str, found: Verification) -> Iterator[str]:
    yield from map(str, found.differences)
    for path in found.unnamed:
        yield f"only reported: no commit names {path}; maintenance deletes it when it is old enough"
    count = len(found.differences)
    read = f"{found.partitions} partitions with {found.rows} rows read"
    yield f"{name}: {read}, {count} differ from their publish records"
    if count:
        yield f"What to do: {_REMEDY}."


if __name__ == "__main__":
    command.run(main)
