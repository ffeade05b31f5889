"""What each stage reads, and who produces it: the basis of waiting for inputs and of publish records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from include.core import partitions
from include.lake import fingerprint
from include.lake.records import Input
from include.sources.adapter import REFERENCE
from include.steps.workspace import WorkspaceReader

LAYER_BEFORE = {"features": "raw", "score": "features", "monitor": "predictions"}
"""The layer whose newest partition a stage takes when its run names none."""

_UPSTREAM = {
    "features": ("ingest", "bootstrap"),
    "score": ("ingest", "features", "bootstrap"),
    "monitor": ("ingest", "features", "score", "bootstrap"),
}

Wanted = dict[str, tuple[str, ...]]
"""Table name to the partitions of it that are read."""


def wanted(workspace: WorkspaceReader, stage: str, keys: Sequence[str]) -> Wanted:
    """The partitions without which ``stage`` cannot be computed for ``keys``."""
    case = workspace.case
    first, last = keys[0], keys[-1]
    if stage == "features":
        window = case.lookback(first, last)
        daily: Wanted = {case.table("raw", name): window for name in case.partitioned_raw}
        return daily | {case.table("raw", name): (REFERENCE,) for name in case.reference_raw}
    if stage == "score":
        shift = case.scoring.recalibration
        # outcomes of a window of days, all but complete two days later, shift the predictions of each key
        return _features(workspace, tuple(keys) if shift is None else _window(workspace, keys, shift.window_days + 1))
    window = _window(workspace, keys, case.monitoring.drift.window_days - 1)
    return {case.table("predictions", "scores"): tuple(keys)} | _features(workspace, window)


def optional(workspace: WorkspaceReader, stage: str, keys: Sequence[str]) -> Wanted:
    """The partitions that ``stage`` uses if anybody produces them, and does without if not."""
    case = workspace.case
    if stage != "monitor":
        return {}
    days = max(case.monitoring.quality.window_days, case.monitoring.drift.window_days - 1)
    return {case.table("predictions", "scores"): _window(workspace, keys, days)}


def missing(workspace: WorkspaceReader, stage: str, keys: Sequence[str], among: Wanted | None = None) -> Wanted:
    """Those of the wanted and optional partitions that are not published; only ``among`` them, where given."""
    found: Wanted = {}
    for table, parts in (among or _both(workspace, stage, keys)).items():
        have = workspace.lake.published(table, parts)
        gone = tuple(key for key in parts if key not in have)
        if gone:
            found[table] = gone
    return found


def producers(workspace: WorkspaceReader, stage: str) -> list[str]:
    """The DAGs whose runs may publish what ``stage`` reads."""
    return [f"{workspace.case.name}_{name}" for name in _UPSTREAM[stage]]


def fault(workspace: WorkspaceReader, stage: str, keys: Sequence[str], gone: Mapping[str, Sequence[str]]) -> str | None:
    """What to tell a person about partitions that nobody is producing; ``None`` if none is indispensable."""
    needed = wanted(workspace, stage, keys)
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
    """What a run that reads ``tables`` records about them."""
    return {table: workspace.lake.inputs(table, parts) for table, parts in tables.items()}


def content_of(workspace: WorkspaceReader, tables: Wanted) -> str:
    """Sixteen hexadecimal digits that say what was read: equal content, equal digits, whatever the versions."""
    found = read(workspace, tables)
    return fingerprint.combine(f"{table}={found[table].fingerprint}" for table in sorted(found))[:16]


def _features(workspace: WorkspaceReader, keys: tuple[str, ...]) -> Wanted:
    case = workspace.case
    views: Wanted = {case.table("features", view): keys for view in case.features.views}
    return views | {case.table("raw", name): keys for name in case.partitioned_raw}


def _window(workspace: WorkspaceReader, keys: Sequence[str], days_before: int) -> tuple[str, ...]:
    """``keys`` and the days before them, cut off where history begins."""
    begin = max(partitions.shift(keys[0], -days_before), workspace.case.history.first)
    return partitions.key_range(begin, keys[-1])


def _both(workspace: WorkspaceReader, stage: str, keys: Sequence[str]) -> Wanted:
    both = {table: set(parts) for table, parts in wanted(workspace, stage, keys).items()}
    for table, parts in optional(workspace, stage, keys).items():
        both.setdefault(table, set()).update(parts)
    return {table: tuple(sorted(parts)) for table, parts in both.items()}


def _listed(keys: Sequence[str]) -> str:
    return ", ".join(keys) if len(keys) <= 10 else f"{', '.join(keys[:10])}, ... ({len(keys)} in all)"
