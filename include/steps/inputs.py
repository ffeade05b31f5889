"""The inputs of each step and the DAGs that produce them: the basis of waiting for inputs and of publish records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from include.core.partitions import Span
from include.lake import fingerprint
from include.lake.records import Input
from include.sources.adapter import REFERENCE
from include.spec.use_case import UseCase
from include.steps.workspace import WorkspaceReader

LAYER_BEFORE = {"features": "raw", "score": "features", "monitor": "predictions"}
"""The layer whose newest partition a step works on when its DAG run names none."""

_UPSTREAM = {
    "features": ("ingest", "bootstrap"),
    "score": ("ingest", "features", "bootstrap", "reprocess"),
    "monitor": ("ingest", "features", "score", "bootstrap", "reprocess"),
}

Wanted = dict[str, tuple[str, ...]]
"""Table name to the partitions of it that are read."""


def wanted(workspace: WorkspaceReader, step: str, span: Span) -> Wanted:
    """Return the partitions without which ``step`` cannot be computed for ``span``."""
    case = workspace.case
    if step == "features":
        window = case.lookback(span).keys
        daily: Wanted = {case.table("raw", name): window for name in case.partitioned_raw}
        return daily | {case.table("raw", name): (REFERENCE,) for name in case.reference_raw}
    if step == "score":
        shift = case.scoring.recalibration
        # the outcomes of a window of days, complete after the label delay, shift the predictions of each partition
        return _features(
            workspace, span if shift is None else _window(workspace, span, _judged_days(case, shift.window_periods))
        )
    window_of = _window(workspace, span, case.monitoring.drift.window_periods - 1)
    return {case.table("predictions", "scores"): span.keys} | _features(workspace, window_of)


def optional(workspace: WorkspaceReader, step: str, span: Span) -> Wanted:
    """Return the partitions that ``step`` uses where they are published or being produced, and can do without."""
    case = workspace.case
    if step != "monitor":
        return {}
    days = max(_judged_days(case, case.monitoring.quality.window_periods), case.monitoring.drift.window_periods - 1)
    return {case.table("predictions", "scores"): _window(workspace, span, days).keys}


def missing(workspace: WorkspaceReader, step: str, span: Span, among: Wanted | None = None) -> Wanted:
    """Return the wanted and optional partitions that are not published; only those ``among``, where given."""
    found: Wanted = {}
    for table, parts in (among or _both(workspace, step, span)).items():
        have = workspace.lake.published(table, parts)
        gone = tuple(key for key in parts if key not in have)
        if gone:
            found[table] = gone
    return found


def producers(workspace: WorkspaceReader, step: str) -> list[str]:
    """Return the DAGs whose runs may publish the inputs of ``step``."""
    return [f"{workspace.case.name}_{name}" for name in _UPSTREAM[step]]


def fault(workspace: WorkspaceReader, step: str, span: Span, gone: Mapping[str, Sequence[str]]) -> str | None:
    """Return the message about partitions that no DAG is producing; None if the step can do without all of them."""
    needed = wanted(workspace, step, span)
    lacking = {table: sorted(set(parts) & set(needed.get(table, ()))) for table, parts in gone.items()}
    if not any(lacking.values()):
        return None
    named = "; ".join(f"{table}: {_listed(parts)}" for table, parts in lacking.items() if parts)
    case = workspace.case.name
    return (
        f"{named}: not published, and nobody is producing them; run {case}_bootstrap for that range, "
        f"or `airflow backfill create --dag-id {case}_ingest`, then clear this task"
    )


def read(workspace: WorkspaceReader, tables: Wanted) -> dict[str, Input]:
    """Return what a publish record says about the inputs ``tables``."""
    return {table: workspace.lake.inputs(table, parts) for table, parts in tables.items()}


def content_of(workspace: WorkspaceReader, tables: Wanted) -> str:
    """Return sixteen hexadecimal digits of the inputs' content: equal for equal content, whatever the versions."""
    found = read(workspace, tables)
    return fingerprint.combine(f"{table}={found[table].fingerprint}" for table in sorted(found))[:16]


def _features(workspace: WorkspaceReader, span: Span) -> Wanted:
    case, keys = workspace.case, span.keys
    views: Wanted = {case.table("features", view): keys for view in case.features.views}
    return views | {case.table("raw", name): keys for name in case.partitioned_raw}


def _judged_days(case: UseCase, window_periods: int) -> int:
    """Return how many days before a partition the window begins whose outcomes are complete at its clock."""
    return case.label_delay_periods + window_periods - 1


def _window(workspace: WorkspaceReader, span: Span, days_before: int) -> Span:
    return span.with_periods_before(days_before, workspace.case.history.first)


def _both(workspace: WorkspaceReader, step: str, span: Span) -> Wanted:
    both = {table: set(parts) for table, parts in wanted(workspace, step, span).items()}
    for table, parts in optional(workspace, step, span).items():
        both.setdefault(table, set()).update(parts)
    return {table: tuple(sorted(parts)) for table, parts in both.items()}


def _listed(keys: Sequence[str]) -> str:
    return ", ".join(keys) if len(keys) <= 10 else f"{', '.join(keys[:10])}, ... ({len(keys)} in all)"
