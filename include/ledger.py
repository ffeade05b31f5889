"""The ledger of promotions: which version became champion when, in data time, and why.

The ledger is the truth about champions; MLflow's alias follows it. An entry counts for the partitions after
its ``trained_through``: a model never scores a day that it could have learnt from.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import pyarrow as pa

from include.errors import NoChampion
from include.lake import Run
from include.workspace import Workspace

TABLE = "promotions"
SCHEMA = pa.schema(
    [
        ("entry", pa.int64()),
        ("version", pa.int64()),
        ("trained_through", pa.string()),
        ("previous", pa.int64()),
        ("decided_by", pa.string()),
        ("evidence", pa.string()),
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
        decided_by: ``auto``, or who approved.
        evidence: the gate's verdict as JSON.
    """

    entry: int
    version: int
    trained_through: str
    previous: int | None
    decided_by: str
    evidence: str


def promotions(workspace: Workspace) -> list[Promotion]:
    """Every entry, oldest first."""
    table = workspace.case.table("ledger", TABLE)
    if workspace.lake.version(table) is None:
        return []
    rows = workspace.lake.dataset(table).to_table(columns=SCHEMA.names).sort_by("entry").to_pylist()
    return [Promotion(**row) for row in rows]


def record(workspace: Workspace, promotion: Promotion, run: Run) -> None:
    """Append ``promotion`` as the next entry: the compare-and-swap of the champion.

    Raises:
        PromotionConflict: another entry was written since this one was decided; nothing changed.
    """
    rows = pa.Table.from_pylist([asdict(promotion)], schema=SCHEMA)
    table = workspace.case.table("ledger", TABLE)
    workspace.lake.append(table, rows, promotion.trained_through, run, expected=promotion.entry - 1)


def current(workspace: Workspace) -> Promotion:
    """The newest entry.

    Raises:
        NoChampion: nothing was ever promoted.
    """
    entries = promotions(workspace)
    if not entries:
        case = workspace.case.name
        raise NoChampion(f"{case} has no champion yet; run {case}_train, then {case}_promote")
    return entries[-1]


def champion_of(entries: list[Promotion], key: str, case: str) -> Promotion:
    """The champion as of the clock of ``key``: the latest entry trained on nothing from ``key`` on.

    Raises:
        NoChampion: no entry is old enough, or there is none.
    """
    able = [entry for entry in entries if entry.trained_through < key]
    if able:
        return able[-1]
    if not entries:
        raise NoChampion(f"{case} has no champion yet; run {case}_train, then {case}_promote")
    oldest = min(entry.trained_through for entry in entries)
    raise NoChampion(
        f"{case}: no champion of {key}: every promoted version knows data up to {oldest} or later; train one "
        f'as of {key} or earlier, or ask for the model "current"'
    )
