"""Check a use case in a lake that is thrown away: its source, suites, queries, features, labels, and the spec's names.

``python -m include.steps.check --use-case weather`` (``make check CASE=weather``) lands a few partitions, audits them,
computes features together and alone, joins labels, and says which columns would be features. It needs no running
service and leaves nothing behind.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from include.core import command, partitions
from include.core.errors import LifecycleError, SpecError
from include.core.partitions import Span
from include.core.settings import Settings
from include.core.words import nearest
from include.feature_store import feature_sql
from include.lake.records import Attempt
from include.spec.loading import load_use_case
from include.spec.training import HistoryBaseline, SeasonalBaseline
from include.spec.use_case import UseCase
from include.steps import features, ingest, inputs, publishing
from include.steps.handover import Stages
from include.steps.workspace import Workspace
from include.training.data import feature_columns

CACHE = "LIFECYCLE_SOURCE_CACHE"
_LABELLED = 5
"""Partitions with features and outcomes that the check computes."""


def check(workspace: Workspace, newest: str) -> Iterator[str]:
    """Run the first half of the chain on a few partitions, and yield a sentence after each part.

    Args:
        workspace: the use case in a lake of its own.
        newest: last partition that the source can deliver.

    Raises:
        LifecycleError: the first fault, as a step of the chain would raise it.
    """
    case, (days, span) = workspace.case, _spans(workspace.case, newest)
    raw = case.lookback(span)
    by = Attempt(case.name, "check", "check")
    rows = _published(workspace, ingest.land(workspace, raw, by), by)
    yield f"source: {raw} landed and audited; rows: {_counts(rows)}"
    rows = _published(workspace, features.stage(workspace, span, by), by)
    yield f"features: {span} computed together, and some partitions alone, with the same rows: {_counts(rows)}"
    learnt = _training_rows(workspace, days, span.last)
    yield f"labels: {learnt.num_rows} rows of {days} have a label that was known at the clock of {span.last}"
    yield _features(case, learnt)


def _spans(case: UseCase, newest: str) -> tuple[Span, Span]:
    """Return the partitions with labels, and those with features, which reach to the clock that knows the labels."""
    last = case.last_label_period(newest)
    first = max(partitions.shift(last, 1 - _LABELLED), case.history.first)
    if last < first:
        raise SpecError([
            f"{case.name}: no partition of {case.history.first}..{newest} has complete outcomes yet, "
            f"{case.label_delay_periods} periods after it; begin history earlier"
        ])  # fmt: skip
    return Span(first=first, last=last), Span(first=first, last=newest)


def _published(workspace: Workspace, stages: Stages, by: Attempt) -> dict[str, int]:
    """Audit and publish stages; return the number of rows by table."""
    counts = {table: workspace.lake.open_stage(path).rows for table, path in stages.folders.items()}
    publishing.audit(workspace, stages, by)
    publishing.publish(workspace, stages, by)
    return counts


def _training_rows(workspace: Workspace, days: Span, as_of: str) -> pa.Table:
    case = workspace.case
    known = Span(first=days.first, last=as_of).keys
    read = inputs.read(workspace, {case.table("raw", name): known for name in case.partitioned_raw})
    with workspace.connect() as con:
        workspace.attach_raw(con, read)
        rows = con.sql(feature_sql.training_rows(con, case, days, as_of)).to_arrow_table()
    if not rows.num_rows:
        raise SpecError([
            f"{case.name}: no row of {days} has a label that was known at the clock of {as_of}: compare ds, the keys "
            "and label_known_at of labels.sql with entities.sql, and label_delay_periods with the source"
        ])  # fmt: skip
    return features.lookup(workspace, {}).add_to(rows)


def _features(case: UseCase, rows: pa.Table) -> str:
    """Say which columns are features; compare the names in the spec with the columns first.

    Raises:
        SpecError: a name is no column.
        TrainingError: a feature is neither a number nor categorical, or the label is no number.
    """
    settings = case.training
    named = {"training.categorical": settings.categorical, "training.slices": settings.slices}
    named |= {
        f"training.baselines {baseline.name}": baseline.by
        for baseline in settings.baselines
        if isinstance(baseline, HistoryBaseline | SeasonalBaseline)
    }
    faults = [
        f"{case.name}: {field} names {name!r}, which is no column{nearest(name, rows.column_names)}"
        for field, names in named.items()
        for name in names
        if name not in rows.column_names
    ]
    if faults:
        raise SpecError(faults)
    # as in a training set, where ds names the clock that the set was frozen at
    days = [settings.period_column if name == "ds" else name for name in rows.column_names]
    numbers = [
        name for name in feature_columns(rows.rename_columns(days), settings) if name not in settings.categorical
    ]
    categorical = ", ".join(settings.categorical) or "none"
    return (
        f"spec: label {settings.label}; {len(numbers)} features that are numbers: {', '.join(numbers)}; "
        f"categorical: {categorical}"
    )


def _counts(rows: dict[str, int]) -> str:
    names = {table: "set aside" if "/quarantine/" in table else table.rpartition("/")[2] for table in rows}
    return ", ".join(f"{names[table]} {count}" for table, count in rows.items())


# ---- the command ----------------------------------------------------------------------------------


def run(name: str) -> Iterator[str]:
    """Check the use case ``name`` in a folder that is deleted afterwards.

    Raises:
        LifecycleError: there is no such use case, or it has a fault.
    """
    case = load_use_case(name)
    newest = partitions.key_at(datetime.now(UTC), case.time_zone, case.period)
    with tempfile.TemporaryDirectory(prefix="check-") as folder:
        # what the source has unpacked already need not be unpacked again
        unpacked = {"source_cache": os.environ[CACHE]} if CACHE in os.environ else {}
        workspace = Workspace(Settings.in_folder(Path(folder), **unpacked), case)
        yield from check(workspace, min(filter(None, (case.history.last, newest))))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m include.steps.check", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--use-case", required=True)
    asked = parser.parse_args(arguments)
    try:
        _say(run(asked.use_case))
    except LifecycleError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{asked.use_case}: nothing wrong was found")
    return 0


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    command.run(main)
