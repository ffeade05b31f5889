"""Publish records: who published a partition, from which inputs, with which content; kept in the commit's metadata."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from deltalake import DeltaTable

from include.lake import delta_log
from include.lake.delta_log import RECORD

DEFINITION = "definition"
"""A note that names what computed the rows. Rows of a new definition are published, be they equal to those before."""

SECONDS = "seconds"
"""A note that says how long it took to compute the rows of a stage and to write them."""


@dataclass(frozen=True)
class Attempt:
    """One try of one task of one DAG run: who stages and publishes.

    Attributes:
        use_case: name of the use case.
        dag_id, run_id: the DAG run.
        number: number of the try, from 1; a publish by any but the newest try is refused.
        try_id: id of the try, greater than those of all tries before it. A DAG run that was deleted and made anew
            under its old id counts its tries from 1 again, but their ids are greater.
        code_version: commit of the running code.
    """

    use_case: str
    dag_id: str
    run_id: str
    number: int = 1
    code_version: str = "unknown"
    try_id: str = ""

    @property
    def name(self) -> str:
        """Return number and id as a name of files that no other try of the DAG run has."""
        return f"{self.number}-{self.try_id}" if self.try_id else str(self.number)

    def as_json(self) -> dict[str, Any]:
        """Return the attempt as publish records hold it."""
        values = asdict(self)
        return {("attempt" if name == "number" else name): value for name, value in values.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Attempt:
        """Read an attempt from a publish record."""
        return cls(**{("number" if name == "attempt" else name): value for name, value in values.items()})


@dataclass(frozen=True)
class Input:
    """The part of one table that an attempt read: Delta version, first and last key, and their content fingerprint."""

    version: int
    first: str
    last: str
    fingerprint: str


@dataclass(frozen=True)
class Record:
    """The record of the last publish of one partition."""

    table: str
    key: str
    version: int
    fingerprint: str
    rows: int
    attempt: Attempt
    inputs: Mapping[str, Input]
    report: str | None
    notes: Mapping[str, Any]


@dataclass(frozen=True)
class Publication:
    """The result of one publish: the partitions that changed, and those whose content was published already."""

    table: str
    version: int
    published: tuple[str, ...]
    unchanged: tuple[str, ...]
    rows: int


def written(meta: Mapping[str, Any], partitions: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the metadata of a commit that publishes ``partitions``: fingerprint and row count by key."""
    return {RECORD: json.dumps({**meta, "partitions": partitions})}


def meta_of(
    attempt: Attempt,
    inputs: Mapping[str, Any] | None = None,
    report: str | None = None,
    notes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the part of the record that all partitions of one publish have in common."""
    return {"run": attempt.as_json(), "inputs": dict(inputs or {}), "report": report, "notes": dict(notes or {})}


def newest(delta: DeltaTable, table: str, keys: Iterable[str] | None) -> Iterator[Record]:
    """Yield the newest record of each of ``keys``, or of every partition; read only as much of the log as they need.

    Args:
        delta: the table, opened at the version that counts.
        table: its name.
        keys: published partitions; ``None`` for all.
    """
    wanted = None if keys is None else set(keys)
    seen: set[str] = set()
    limit, read = 32, 0
    while wanted is None or not wanted <= seen:
        commits = delta_log.commits(delta, None if wanted is None else limit)
        for commit in commits[read:]:
            for record in of_commit(table, commit):
                if record.key not in seen and (wanted is None or record.key in wanted):
                    seen.add(record.key)
                    yield record
        if wanted is None or len(commits) < limit:
            return
        limit, read = limit * 4, len(commits)


def of_commit(table: str, commit: Mapping[str, Any]) -> Iterator[Record]:
    """Yield the records in the metadata of one commit of ``table``; none if the commit was no publish."""
    if RECORD not in commit:
        return
    meta = json.loads(commit[RECORD])
    attempt = Attempt.from_json(meta["run"])
    inputs = {name: Input(**value) for name, value in meta["inputs"].items()}
    for key, part in meta["partitions"].items():
        yield Record(
            table,
            key,
            commit["version"],
            part["fingerprint"],
            part["rows"],
            attempt,
            inputs,
            meta["report"],
            meta["notes"],
        )
