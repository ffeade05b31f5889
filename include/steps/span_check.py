"""Check that partitions computed together are what each would be alone.

A span computes all its partitions from one reading of the raw tables, in which later partitions lie beside earlier
ones. A query that reads a later partition, or one before the look-back, gives other rows there than the live run of
one partition can give: a model would learn what it never sees when it scores. So a few partitions of each span are
computed again alone, with the partitions only that the live run would see, before anything is published.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from include.core.errors import SpanDependent
from include.core.partitions import Span
from include.core.sql import identifier, literal
from include.feature_store import feature_sql
from include.lake.records import Input
from include.lake.staging import Stage
from include.steps.workspace import WorkspaceReader

# sums of floating-point numbers differ by the order in which they are added: relative to the column's largest number,
# since a sum that cancels to nearly nothing has the error of its parts
_DOUBLE, _FLOAT = 1e-9, 1e-6


def sampled(span: Span) -> tuple[str, ...]:
    """Return the partitions of ``span`` to compute again; none for a span of one, which sees no other.

    The last but one has a later partition and the most earlier ones; another place is drawn by the span.
    """
    *earlier, _ = span.keys
    return tuple(sorted({earlier[-1], random.Random(str(span)).choice(earlier)})) if earlier else ()


def refuse_differences(
    workspace: WorkspaceReader, span: Span, read: Mapping[str, Input], staged: Mapping[str, Stage]
) -> None:
    """Compare the staged rows of each view, and the rows to predict, with those of sampled partitions alone.

    Args:
        workspace: reader of the raw tables.
        span: the partitions that were computed together.
        read: the inputs that they were computed from.
        staged: stage of each view.

    Raises:
        SpanDependent: rows differ; names query, partition, column, an example, and the likely reason.
    """
    case, keys = workspace.case, sampled(span)
    if not keys:
        return
    faults: list[str] = []
    together = _entities(workspace, span, read, keys)
    for key in keys:
        alone = Span.one(key)
        with workspace.connect() as con:
            workspace.attach_raw(con, read, case.lookback(alone))
            for view, query in feature_sql.compute(con, case, alone).items():
                con.register("together", staged[view].rows_of(key))
                found = _difference(con, query, case.features.views[view])
                con.unregister("together")
                if found:
                    reason = _reason(workspace, span, read, key, view, staged[view])
                    faults.append(f"view {view} of {key}: {found}; {reason}")
        found = _entity_difference(workspace, read, key, together.filter(pc.equal(together["ds"], key)))
        if found:
            faults.append(f"entities.sql of {key}: {found}; it may read the asked partition only")
    if faults:
        raise SpanDependent([f"{case.name}: {fault}. Nothing was published" for fault in faults])


def _reason(
    workspace: WorkspaceReader, span: Span, read: Mapping[str, Input], key: str, view: str, stage: Stage
) -> str:
    """Compute ``key`` with all earlier partitions of the span, to tell a long look back from a look ahead."""
    case = workspace.case
    path = case.assets_folder / "sql" / "features" / f"{view}.sql"
    with workspace.connect() as con:
        workspace.attach_raw(con, read, Span(first=case.lookback(span).first, last=key))
        query = feature_sql.compute(con, case, Span.one(key))[view]
        con.register("together", stage.rows_of(key))
        ahead = _difference(con, query, case.features.views[view]) is not None
    if ahead:
        return f"{path} reads partitions after the asked one: add a condition such as `ds <= partitions.ds`"
    return (
        f"{path} reads more than the {case.features.lookback_periods} partitions of features.lookback_periods: "
        "raise it, or bound the window"
    )


def _entities(workspace: WorkspaceReader, span: Span, read: Mapping[str, Input], keys: Sequence[str]) -> pa.Table:
    """Return the rows to predict of ``keys``, computed with the whole span."""
    with workspace.connect() as con:
        workspace.attach_raw(con, read, span)
        query = feature_sql.scoring_rows(con, workspace.case, span)
        wanted = ", ".join(map(literal, keys))
        return con.sql(f"SELECT * FROM ({query}) WHERE ds IN ({wanted})").to_arrow_table()


def _entity_difference(
    workspace: WorkspaceReader, read: Mapping[str, Input], key: str, together: pa.Table
) -> str | None:
    case = workspace.case
    with workspace.connect() as con:
        workspace.attach_raw(con, read, Span.one(key))
        con.register("together", together)
        return _difference(con, feature_sql.scoring_rows(con, case, Span.one(key)), case.predictions.key)


def _difference(con: duckdb.DuckDBPyConnection, query: str, keys: Sequence[str]) -> str | None:
    """Compare the rows of ``query`` with the relation ``together``; describe the first column that differs."""
    con.execute(f"CREATE OR REPLACE TEMP TABLE alone AS {query}").fetchall()
    columns = {str(name): str(kind) for name, kind, *_ in con.execute("DESCRIBE alone").fetchall()}
    values = {name: _differs(name, kind) for name, kind in columns.items() if name != "ds" and name not in keys}
    on = " AND ".join(f"t.{identifier(key)} IS NOT DISTINCT FROM a.{identifier(key)}" for key in keys)
    joined = f"FROM together AS t FULL JOIN alone AS a ON {on}"
    unmatched = "(t.ds IS NULL OR a.ds IS NULL)"
    counts = ", ".join(f"count(*) FILTER (WHERE NOT {unmatched} AND {test})" for test in ("true", *values.values()))
    missing, rows, *differing = con.execute(
        f"SELECT count(*) FILTER (WHERE {unmatched}), {counts} {joined}"
    ).fetchall()[0]
    if missing:
        return f"{missing} rows exist only in the span or only alone ({rows} in both)"
    for name, count in zip(values, differing, strict=True):
        if count:
            column = identifier(name)
            shown = ", ".join(f"t.{identifier(key)}" for key in keys)
            *where, together, alone = con.execute(
                f"SELECT {shown}, t.{column}, a.{column} {joined} WHERE {values[name]} ORDER BY {shown} LIMIT 1"
            ).fetchall()[0]
            entity = ", ".join(f"{key} {value}" for key, value in zip(keys, where, strict=True))
            return (
                f"column {name!r} differs in {count} of {rows} rows: for {entity} it is {together} in the span and "
                f"{alone} alone"
            )
    return None


def _differs(name: str, kind: str) -> str:
    """Return the condition that a column of two joined rows differs by more than rounding."""
    column = identifier(name)
    test = f"t.{column} IS DISTINCT FROM a.{column}"
    if kind not in ("DOUBLE", "FLOAT"):
        return f"({test})"
    largest = f"(SELECT max(abs({column})) FILTER (WHERE isfinite({column})) FROM alone)"
    allowed = _DOUBLE if kind == "DOUBLE" else _FLOAT
    return f"({test} AND NOT coalesce(abs(t.{column} - a.{column}) <= {allowed} * {largest}, false))"
