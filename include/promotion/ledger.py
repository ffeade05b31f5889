"""The ledger of promotions: which version became champion when, in data time, and why.

The ledger decides who is champion; MLflow's alias follows it. A promotion counts from the partition after its
``trained_through`` on: a model never scores a period that it could have learnt from. A rollback counts from the
partition that it names (``since``): partitions before it keep their champion, so that scoring them again gives the
same predictions; partitions from it on get the earlier version back.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import pyarrow as pa

from include.core import partitions
from include.core.errors import NoChampion
from include.lake.appending import append
from include.lake.lake import Lake
from include.lake.reader import LakeReader
from include.lake.records import Attempt
from include.spec.use_case import UseCase

TABLE = "promotions"
PROMOTION, ROLLBACK = "promotion", "rollback"
SCHEMA = pa.schema(
    [
        ("entry", pa.int64()),
        ("version", pa.int64()),
        ("trained_through", pa.string()),
        ("previous", pa.int64()),
        ("decided_by", pa.string()),
        ("evidence", pa.string()),
        ("kind", pa.string()),
        ("since", pa.string()),
        ("signed", pa.string()),
    ]
)


@dataclass(frozen=True)
class Promotion:
    """One entry of the ledger.

    Attributes:
        entry: its number, from 1, without gaps.
        version: the model version that became champion.
        trained_through: last partition that the version's training set may know anything of.
        previous: the champion before; ``None`` for the first entry.
        decided_by: ``auto``, or the person who approved or rolled back.
        evidence: the gates' verdict as JSON, or the reason of the rollback.
        kind: ``promotion`` or ``rollback``.
        since: first partition that the entry counts for; ``None`` for the one after ``trained_through``.
        signed: the signed statement of the version that was promoted; ``None`` in an entry from before models were
            signed.
    """

    entry: int
    version: int
    trained_through: str
    previous: int | None
    decided_by: str
    evidence: str
    kind: str = PROMOTION
    since: str | None = None
    signed: str | None = None

    @property
    def counts_from(self) -> str:
        """Return the first partition that the version may score by this entry."""
        learnt_nothing_from = partitions.shift(self.trained_through, 1)
        return max(self.since or learnt_nothing_from, learnt_nothing_from)


def promotions(lake: LakeReader, case: UseCase) -> list[Promotion]:
    """Read every entry, oldest first."""
    table = case.table("ledger", TABLE)
    if lake.version(table) is None:
        return []
    found = lake.dataset(table)
    # a ledger from before models were signed has no column for that
    columns = [name for name in SCHEMA.names if name in found.schema.names]
    rows = found.to_table(columns=columns).sort_by("entry").to_pylist()
    return [Promotion(**row) for row in rows]


def record(lake: Lake, case: UseCase, promotion: Promotion, attempt: Attempt) -> None:
    """Append ``promotion`` as the next entry: the compare-and-swap of the champion.

    Raises:
        PromotionConflict: another entry was written after this one was decided; nothing changed.
    """
    rows = pa.Table.from_pylist([asdict(promotion)], schema=SCHEMA)
    table = case.table("ledger", TABLE)
    append(lake, table, rows, promotion.trained_through, attempt, expected=promotion.entry - 1)


def current(lake: LakeReader, case: UseCase) -> Promotion:
    """Return the newest entry.

    Raises:
        NoChampion: nothing was ever promoted.
    """
    entries = promotions(lake, case)
    if not entries:
        raise NoChampion(f"{case.name} has no champion yet; run {case.name}_train, then {case.name}_promote")
    return entries[-1]


def champion_of(entries: list[Promotion], key: str, case: str) -> Promotion:
    """Return the champion as of the clock of ``key``: the latest entry that counts for ``key``.

    Raises:
        NoChampion: no entry is old enough, or there is none.
    """
    able = [entry for entry in entries if entry.counts_from <= key]
    if able:
        return able[-1]
    if not entries:
        raise NoChampion(f"{case} has no champion yet; run {case}_train, then {case}_promote")
    oldest = min(entry.trained_through for entry in entries)
    raise NoChampion(
        f"{case}: no champion of {key}: every promoted version knows data up to {oldest} or later; train one "
        f'as of {key} or earlier, or ask for the model "current"'
    )


def entry_of(entries: list[Promotion], version: int) -> Promotion | None:
    """Return the newest entry that made ``version`` champion, one with a signed statement before one without."""
    of_version = [entry for entry in entries if entry.version == version]
    return max(of_version, key=lambda entry: (entry.signed is not None, entry.entry), default=None)


def withdrawn(entries: list[Promotion]) -> set[int]:
    """Return the versions that a rollback withdrew and no later entry restored."""
    found: set[int] = set()
    for entry in entries:
        if entry.kind == ROLLBACK and entry.previous is not None:
            found.add(entry.previous)
        found.discard(entry.version)
    return found
