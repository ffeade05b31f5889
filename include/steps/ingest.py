"""Ingest: stage the tables that the source delivers, and quarantine the rows that can never be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import duckdb

from include.core.partitions import Span
from include.lake.records import Attempt
from include.lake.staging import Stage
from include.quality.quarantine import split_quarantine
from include.sources.adapter import REFERENCE
from include.steps import row_counts
from include.steps.handover import Stages
from include.steps.suites import suites_of
from include.steps.workspace import Workspace


def land(workspace: Workspace, span: Span, attempt: Attempt) -> Stages:
    """Stage every raw table for ``span``, in one pass of the source.

    Rows that match a quarantine rule of their suite are staged for the quarantine table instead, with the rule,
    its reason and the whole row.

    Every delivered row is staged on one side or the other, and the counts are compared.

    Raises:
        SourceError: an upstream file is missing, truncated or not of the promised shape.
        RowsRefused: a row has no partition, or a type or value that cannot be stored; or rows got lost.
        UnknownPartition: a partition is outside the source's history.
        AuditFailed: a column that a suite names is missing or of another type.
        SpecError: a suite of a raw table has faults.
    """
    case, keys = workspace.case, span.keys
    # before the source is asked: a suite that cannot run is refused before anything lands
    suites = suites_of(workspace, tuple(case.raw))
    stages: dict[str, Stage] = {}
    delivered: dict[str, Counter[str]] = {}
    rejected: list[str] = []
    with workspace.connect() as con:
        for name, query in workspace.source.deliver(con, span.first, span.last).items():
            table, parts = case.table("raw", name), [REFERENCE] if case.raw[name].reference else keys
            delivered[name] = row_counts.of_delivery(con, table, query, parts)
            clean, refused = split_quarantine(con, query, suites[name])
            rejected.append(f"SELECT '{name}' AS \"table\", * FROM ({refused})")
            notes = {row_counts.DELIVERED: delivered[name].total()}
            stages[name] = workspace.stage(con, table, clean, parts, attempt, case.raw[name].key, notes=notes)
        quarantine = _stage_rejected(workspace, con, rejected, keys, attempt)
        quarantined = row_counts.of_quarantine(con, quarantine)
    for name, stage in stages.items():
        row_counts.refuse_loss(stage, delivered[name], quarantined.get(name, {}))
    return Stages(folders={stage.table: stage.path for stage in (*stages.values(), quarantine)})


def _stage_rejected(
    workspace: Workspace,
    con: duckdb.DuckDBPyConnection,
    queries: Sequence[str],
    keys: Sequence[str],
    attempt: Attempt,
) -> Stage:
    # Rejected reference rows go to partition `reference`, so that a span and its days store them in the same place.
    parts = [*keys, REFERENCE] if workspace.case.reference_raw else list(keys)
    table = workspace.case.table("quarantine", "rows")
    return workspace.stage(con, table, " UNION ALL ".join(queries), parts, attempt, ("table", "rule", "row"))
