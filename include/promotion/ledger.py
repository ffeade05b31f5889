"""The ledger of promotions: which version became champion when, in data time, and why.

The ledger is the truth about champions; MLflow's alias follows it. A promotion counts from the partition after
its ``trained_through`` on: a model never scores a day that it could have learnt from. A rollback counts from
the partition that it names (``since``): the days before it keep the champion that they had, so that scoring
them again gives what was scored, and the days from it on get the earlier version back.
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
    ]
)


@dataclass(frozen=True)
class Promotion:
    """One entry.

    Attributes:
        entry: its number, from 1, without gaps.
        version: the model version that became champion.
        trained_through: last day of which the version's training set may know anything.
        previous: the champion before; ``None`` for the first.
        decided_by: ``auto``, or who approved or rolled back.
        evidence: the gate's verdict as JSON, or why it was rolled back.
        kind: ``promotion`` or ``rollback``.
        since: first partition that it counts for; ``None`` for the one after ``trained_through``.
    """

    entry: int
    version: int
    trained_through: str
    previous: int | None
    decided_by: str
    evidence: str
    kind: str = PROMOTION
    since: str | None = None

    @property
    def counts_from(self) -> str:
        """The first partition that this version may score by this entry."""
        learnt_nothing_from = partitions.shift(self.trained_through, 1)
        return max(self.since or learnt_nothing_from, learnt_nothing_from)


def promotions(lake: LakeReader, case: UseCase) -> list[Promotion]:
    """Every entry, oldest first."""
    table = case.table("ledger", TABLE)
    if lake.version(table) is None:
        return []
    rows = lake.dataset(table).to_table(columns=SCHEMA.names).sort_by("entry").to_pylist()
    return [Promotion(**row) for row in rows]


def record(lake: Lake, case: UseCase, promotion: Promotion, attempt: Attempt) -> None:
    """Append ``promotion`` as the next entry: the compare-and-swap of the champion.

    Raises:
        PromotionConflict: another entry was written since this one was decided; nothing changed.
    """
    rows = pa.Table.from_pylist([asdict(promotion)], schema=SCHEMA)
    table = case.table("ledger", TABLE)
    append(lake, table, rows, promotion.trained_through, attempt, expected=promotion.entry - 1)


def current(lake: LakeReader, case: UseCase) -> Promotion:
    """The newest entry.

    Raises:
        NoChampion: nothing was ever promoted.
    """
    entries = promotions(lake, case)
    if not entries:
        raise NoChampion(f"{case.name} has no champion yet; run {case.name}_train, then {case.name}_promote")
    return entries[-1]


def champion_of(entries: list[Promotion], key: str, case: str) -> Promotion:
    """The champion as of the clock of ``key``: the latest entry that counts for ``key``.

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


def withdrawn(entries: list[Promotion]) -> set[int]:
    """The versions that a rollback took back and nothing has restored since."""
    found: set[int] = set()
    for entry in entries:
        if entry.kind == ROLLBACK and entry.previous is not None:
            found.add(entry.previous)
        found.discard(entry.version)
    return found
