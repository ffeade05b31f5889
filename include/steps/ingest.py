"""Ingest: stage what the source delivers, and set aside the rows that can never be used."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from include.lake.records import Attempt
from include.quality.quarantine import split_quarantine
from include.quality.suites import load_suite
from include.sources.adapter import REFERENCE
from include.spec.suite import Suite
from include.steps.workspace import Workspace


def land(workspace: Workspace, keys: Sequence[str], attempt: Attempt) -> dict[str, str]:
    """Stage every raw table for ``keys``, in one pass of the source; returns each table's stage folder.

    Rows that a suite's quarantine rules name are staged for the quarantine table instead, with the rule,
    its reason and the whole row.

    Raises:
        SourceError: an upstream file is missing, truncated or not of the promised shape.
        UnknownPartition: a key is outside the source's history.
        AuditFailed: a column that a suite names is missing or of another type.
    """
    case = workspace.case
    stages: dict[str, str] = {}
    rejected: list[str] = []
    with workspace.connect() as con:
        for name, query in workspace.source.deliver(con, keys[0], keys[-1]).items():
            clean, refused = split_quarantine(con, query, suite_of(workspace, name))
            rejected.append(f"SELECT '{name}' AS \"table\", * FROM ({refused})")
            parts = [REFERENCE] if case.raw[name].reference else list(keys)
            table = case.table("raw", name)
            stages[table] = workspace.stage(con, table, clean, parts, attempt, case.raw[name].key)
        stages[case.table("quarantine", "rows")] = _stage_rejected(workspace, con, rejected, keys, attempt)
    return stages


def suite_of(workspace: Workspace, name: str) -> Suite:
    """The expectation suite of one table."""
    return load_suite(workspace.case.assets_folder / "suites" / f"{name}.yaml")


def _stage_rejected(
    workspace: Workspace,
    con: duckdb.DuckDBPyConnection,
    queries: Sequence[str],
    keys: Sequence[str],
    attempt: Attempt,
) -> str:
    # a row of a reference table has no day of its own: a range must not put it elsewhere than its days would
    parts = [*keys, REFERENCE] if workspace.case.reference_raw else list(keys)
    table = workspace.case.table("quarantine", "rows")
    return workspace.stage(con, table, " UNION ALL ".join(queries), parts, attempt, ("table", "rule", "row"))
