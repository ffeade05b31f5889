"""The count of rows on their way into the lake: delivered = published + quarantined."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import duckdb

from include.core import sql
from include.core.errors import RowsRefused
from include.lake.reader import listed
from include.lake.staging import Stage

DELIVERED = "delivered"
"""The note in a raw table's publish record: number of rows that the source delivered for the whole stage."""
_NOTHING = "Nothing was staged"


def of_delivery(con: duckdb.DuckDBPyConnection, table: str, query: str, keys: Sequence[str]) -> Counter[str]:
    """Return how many rows ``query`` delivers for each partition.

    Raises:
        RowsRefused: rows have no partition, or one that is not among ``keys``.
    """
    found = con.execute(f"SELECT CAST(ds AS VARCHAR), count(*) FROM ({query}) GROUP BY ALL").fetchall()
    counts: dict[str | None, int] = dict(found)
    if None in counts:
        raise RowsRefused(
            f"{table}: {counts[None]} of {sum(counts.values())} delivered rows have no partition: their ds is null, "
            f"as in {_without_partition(con, query)}. {_NOTHING}; give such rows a partition in the source's query, or "
            "leave them out there"
        )
    stray = {str(key): count for key, count in counts.items() if key not in set(keys)}
    if stray:
        named = ", ".join(f"{key} ({count} row{'s' * (count != 1)})" for key, count in sorted(stray.items())[:7])
        raise RowsRefused(
            f"{table}: {named} was not asked for; asked for were {listed(keys)}. {_NOTHING}; correct the source's query"
        )
    return Counter({str(key): count for key, count in counts.items()})


def _without_partition(con: duckdb.DuckDBPyConnection, query: str) -> str:
    row = sql.identifier(sql.unused("delivered", [name for name, *_ in con.execute(f"DESCRIBE {query}").fetchall()]))
    found = con.execute(f"SELECT CAST(to_json({row}) AS VARCHAR) FROM ({query}) AS {row} WHERE ds IS NULL").fetchone()
    return str(found[0]) if found else "no row any more"


def of_quarantine(con: duckdb.DuckDBPyConnection, stage: Stage) -> dict[str, Counter[str]]:
    """Return how many rows of each table and partition a stage of the quarantine table holds."""
    rows = stage.parquet()
    if not rows:
        return {}
    if isinstance(rows, list):
        relation = sql.partitioned_parquet(rows)
    else:
        relation = "staged_quarantine"
        con.register(relation, rows)
    found: dict[str, Counter[str]] = {}
    for name, key, count in con.execute(f'SELECT "table", ds, count(*) FROM {relation} GROUP BY ALL').fetchall():
        found.setdefault(name, Counter())[key] = count
    return found


def refuse_loss(stage: Stage, delivered: Mapping[str, int], quarantined: Mapping[str, int]) -> None:
    """Raise ``RowsRefused`` unless each partition of ``stage`` has every delivered row but the quarantined ones."""
    for key, part in stage.partitions.items():
        expected, rejected = delivered.get(key, 0), quarantined.get(key, 0)
        if part.rows + rejected != expected:
            raise RowsRefused(
                f"{stage.table}: of {expected} rows delivered for {key}, {part.rows} were staged and {rejected} "
                "quarantined. Either the source changed while it was read, and the task has only to be cleared, or a "
                "quarantine rule answers differently each time that it runs"
            )


def refuse_unbalanced(stages: Iterable[Stage]) -> None:
    """Raise ``RowsRefused`` unless the stages that are to be published together hold every delivered row.

    Stages of tables that no source delivers do not count.
    """
    opened = list(stages)
    raw = [stage for stage in opened if DELIVERED in stage.notes]
    if not raw:
        return
    delivered, staged = sum(stage.notes[DELIVERED] for stage in raw), sum(stage.rows for stage in raw)
    rejected = sum(stage.rows for stage in opened if stage.table.split("/")[1] == "quarantine")
    if staged + rejected != delivered:
        raise RowsRefused(
            f"{', '.join(stage.table for stage in raw)}: {delivered} rows were delivered, but {staged} are staged and "
            f"{rejected} quarantined. Nothing was published; clear the task that stages them"
        )
