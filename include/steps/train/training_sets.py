"""Training sets: the rows that were known at one clock, frozen as a versioned, hashed table."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import pyarrow as pa

from include.core import partitions
from include.core.errors import LifecycleError, TrainingError
from include.core.partitions import Span
from include.feature_store import feature_sql
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
    before the clock of ``as_of``. Freezing the same inputs again publishes nothing.

    Raises:
        MissingPartitions: a partition that the set is made of is not published.
        TrainingError: no day has both a whole look-back and complete labels.
        DefinitionChanged: partitions of one feature view were computed by different queries.
    """
    case = workspace.case
    now = workspace.at_one_moment()
    rows, read = _rows(now, as_of)
    notes = provenance.notes_of_set(now, label_days(now, as_of))
    table = table_of(workspace, as_of)
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
        fingerprint=TrainingSet.of(rows.cast(staged.schema())).fingerprint,
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
    as_of = found.tags.get("as_of")
    if not as_of:
        raise LifecycleError(
            f"{workspace.case.name} version {found.number} has no tag as_of, which names its training set; rebuild "
            f"{found.tags.get('training_set')} with --as-of and --version, or train again"
        )
    uri = workspace.lake.uri(table_of(workspace, as_of))
    return open_training_set(uri, int(found.tags["training_set_version"]), found.tags["training_set_fingerprint"])


def record_of(workspace: WorkspaceReader, found: model_versions.Version) -> Record | None:
    """Return the publish record of a model version's training set; None if nothing is known of it."""
    as_of, number = found.tags.get("as_of"), found.tags.get("training_set_version")
    if not as_of or not number:
        return None
    history = workspace.lake.history(table_of(workspace, as_of))
    return next((record for record in history if record.version == int(number)), None)


def rebuild(workspace: Workspace, as_of: str, version: int) -> str:
    """Rebuild a frozen training set from the input versions that it was recorded with.

    Returns:
        The fingerprint of the rebuilt rows, which is the recorded one.

    Raises:
        TrainingError: there is no such set, or the rebuilt rows differ.
    """
    table = table_of(workspace, as_of)
    record = next((r for r in workspace.lake.history(table) if r.version == version), None)
    if record is None:
        raise TrainingError(f"{table} has no version {version}; `freeze_training_set` of {as_of} makes one")
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


def table_of(workspace: WorkspaceReader, as_of: str) -> str:
    """Return the table of one clock's training set."""
    return workspace.case.training_table(as_of)


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
