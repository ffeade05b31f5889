"""Training sets: the rows that were known at one clock, frozen as a versioned, hashed table."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

import pyarrow as pa

from include.core import partitions
from include.core.errors import LifecycleError, TrainingError
from include.core.partitions import Span
from include.feature_store import feature_sql
from include.lake import column_types
from include.lake.records import Attempt, Input, Record
from include.registry import model_versions
from include.steps import features, provenance
from include.steps.handover import FrozenTrainingSet
from include.steps.workspace import Workspace, WorkspaceReader
from include.training.training_set import TrainingSet, open_training_set

_log = logging.getLogger(__name__)


def freeze(workspace: Workspace, as_of: str, attempt: Attempt) -> FrozenTrainingSet:
    """Publish the labelled rows that a training at the clock of ``as_of`` may learn from.

    Each row is one entity of one day with the features as of that day's clock and the label that was known
    before the clock of ``as_of``. The table is named by day and content: freezing the same rows again publishes
    nothing, and other rows, as those of a view with a column more, go into another table beside it.

    Raises:
        MissingPartitions: a partition that the set is made of is not published.
        TrainingError: no day has both a whole look-back and complete labels.
        DefinitionChanged: partitions of one feature view were computed by different queries.
    """
    case = workspace.case
    now = workspace.at_one_moment()
    rows, read = _rows(now, as_of)
    notes = provenance.notes_of_set(now, label_days(now, as_of))
    rows = rows.cast(column_types.stored(f"{case.name}, training set as of {as_of}", rows.schema))
    fingerprint = TrainingSet.of(rows).fingerprint
    table = case.training_table(as_of, fingerprint)
    order = [case.training.period_column, *case.training.keys]
    staged = workspace.lake.stage(table, rows.to_reader(), [as_of], attempt, order, inputs=read, notes=notes)
    done = workspace.lake.publish(staged, attempt)
    workspace.lake.discard(staged)
    _log.info("%s: version %d, %d rows of %d columns", table, done.version, rows.num_rows, rows.num_columns)
    record = workspace.lake.records(table, [as_of])[as_of]
    return FrozenTrainingSet(
        as_of=as_of,
        table=table,
        uri=workspace.lake.uri(table),
        version=record.version,
        rows=record.rows,
        trained_through=partitions.shift(as_of, -1),
        fingerprint=fingerprint,
    )


def load(training_set: FrozenTrainingSet) -> TrainingSet:
    """Read a frozen training set into memory.

    Raises:
        TrainingError: its rows are not those that were frozen.
    """
    return open_training_set(training_set.uri, training_set.version, training_set.fingerprint)


def of_version(workspace: WorkspaceReader, found: model_versions.Version) -> TrainingSet:
    """Read the frozen training set of a registered model version, at the address of this lake.

    The version's own tag names the address that the lake had when the model was trained.

    Raises:
        LifecycleError: the version has no tag ``as_of``.
        TrainingError: the frozen rows are not those that the model was trained on.
    """
    table, number = place_of(workspace, found)
    return open_training_set(workspace.lake.uri(table), number, found.tags["training_set_fingerprint"])


def place_of(workspace: WorkspaceReader, found: model_versions.Version) -> tuple[str, int]:
    """Return the table and the Delta version of the frozen training set of a registered model version.

    Raises:
        LifecycleError: the version has no tag ``as_of``.
    """
    as_of = found.tags.get("as_of")
    if not as_of:
        raise LifecycleError(
            f"{workspace.case.name} version {found.number} has no tag as_of, which names its training set; rebuild "
            f"{found.tags.get('training_set')} with --as-of and --version, or train again"
        )
    number = int(found.tags["training_set_version"])
    return table_of(workspace, as_of, found.tags["training_set_fingerprint"], number), number


def record_of(workspace: WorkspaceReader, found: model_versions.Version) -> Record | None:
    """Return the publish record of a model version's training set; None if nothing is known of it."""
    if not found.tags.get("as_of") or not found.tags.get("training_set_version"):
        return None
    table, number = place_of(workspace, found)
    return next((record for record in workspace.lake.history(table) if record.version == number), None)


def rebuild(workspace: Workspace, table: str, version: int) -> str:
    """Rebuild a frozen training set from the input versions that it was recorded with.

    Returns:
        The fingerprint of the rebuilt rows, which is the recorded one.

    Raises:
        TrainingError: there is no such set, or the rebuilt rows differ.
    """
    record = next((r for r in workspace.lake.history(table) if r.version == version), None)
    if record is None:
        raise TrainingError(f"{table} has no version {version}; the task `freeze_training_set` of the day makes one")
    as_of = record.key
    rows, _ = _rows(workspace.at_one_moment(), as_of, record.inputs)
    attempt = Attempt(workspace.case.name, "rebuild", f"{as_of}@{version}")
    order = [workspace.case.training.period_column, *workspace.case.training.keys]
    staged = workspace.lake.stage(table, rows.to_reader(), [as_of], attempt, order)
    found = staged.partitions[as_of].fingerprint
    workspace.lake.discard(staged)
    if found != record.fingerprint:
        changed = " and ".join(provenance.changed_queries(workspace.case, record))
        why = f"the query of {changed} has changed" if changed else "the code that made it differs"
        raise TrainingError(
            f"{table} version {version} was recorded with fingerprint {record.fingerprint[:12]}, its inputs now "
            f"give {found[:12]}: {why} (made by {record.attempt.code_version})"
        )
    return found


def table_of(workspace: WorkspaceReader, as_of: str, fingerprint: str, version: int) -> str:
    """Return the table that holds a training set: the one of its content, or that of all sets of the day.

    Earlier releases froze all sets of a day as versions of one table, and models name such versions.
    """
    named, earlier = workspace.case.training_table(as_of, fingerprint), workspace.case.training_table(as_of)
    have = workspace.lake.version(named)
    if (have is None or have < version) and workspace.lake.version(earlier) is not None:
        return earlier
    return named


def tables_of_day(workspace: WorkspaceReader, as_of: str) -> list[str]:
    """Return the tables of all training sets that were frozen as of a day, those of earlier releases included."""
    day = re.escape(workspace.case.training_table(as_of))
    found = workspace.lake.tables(workspace.case.name)
    return [table for table in found if re.fullmatch(rf"{day}(_[0-9a-f]{{12}})?", table)]


def label_days(workspace: WorkspaceReader, as_of: str) -> Span:
    """Return the days whose rows a training set of ``as_of`` holds.

    Raises:
        TrainingError: no day has both a whole look-back and complete labels.
    """
    case = workspace.case
    first, last = case.first_label_period, case.last_label_period(as_of)
    if case.training_periods is not None:
        first = max(first, partitions.shift(last, 1 - case.training_periods))
    if last < first:
        raise TrainingError(
            f"{case.name}: a training set as of {as_of} would have labels until {last}, but whole look-backs "
            f"begin on {first}; train as of a later day"
        )
    return Span(first=first, last=last)


def _rows(
    workspace: WorkspaceReader, as_of: str, recorded: Mapping[str, Input] | None = None
) -> tuple[pa.Table, dict[str, Input]]:
    """Return the training rows and their inputs, at the recorded versions where given, else at the current ones."""
    case, days = workspace.case, label_days(workspace, as_of)
    read = recorded or _inputs(workspace, days, as_of)
    with workspace.connect() as con:
        workspace.attach_raw(con, read)
        query = feature_sql.training_rows(con, case, days, as_of)
        order = ", ".join(("ds", *case.training.keys))
        rows = con.sql(f"SELECT * FROM ({query}) ORDER BY {order}").to_arrow_table()
    if rows.num_rows == 0:
        raise TrainingError(f"{case.name}: no labelled row in {days}; are the outcomes published?")
    found = features.lookup(workspace, read).add_to(rows)
    lacking = features.lacking(workspace, read).difference(rows.column_names)
    found = found.drop_columns([name for name in found.column_names if name in lacking])
    day = case.training.period_column
    renamed = found.rename_columns([day if name == "ds" else name for name in found.column_names])
    return renamed.append_column("ds", pa.array([as_of] * found.num_rows, pa.string())), dict(read)


def _inputs(workspace: WorkspaceReader, days: Span, as_of: str) -> dict[str, Input]:
    case, known = workspace.case, Span(first=days.first, last=as_of)
    wanted = {case.table("raw", name): known.keys for name in case.partitioned_raw}
    wanted |= {case.table("features", view): days.keys for view in case.features.views}
    for table, keys in wanted.items():
        workspace.lake.require(table, keys)
    return {table: workspace.lake.inputs(table, keys) for table, keys in wanted.items()}
