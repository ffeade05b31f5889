"""Features of one use case: staged from published raw tables, registered with Feast, newest values online."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import feast
import pyarrow as pa

from include.core import partitions
from include.core.errors import RowsRefused, SpanDependent
from include.core.partitions import Span
from include.feature_store import feast_store, feature_sql
from include.feature_store.feast_definitions import of_tables
from include.lake import columns, file_statistics
from include.lake.records import Attempt, Input
from include.lake.staging import Stage
from include.spec.use_case import UseCase
from include.steps import inputs, provenance, span_check
from include.steps.handover import Materialized, Stages
from include.steps.workspace import Workspace, WorkspaceReader


def stage(workspace: Workspace, span: Span, attempt: Attempt) -> Stages:
    """Stage every feature view's snapshots for ``span``.

    Raises:
        MissingPartitions: a raw partition in the look-back window is not published.
        RowsRefused: the time stamps of a snapshot are not the clock of its partition.
        SpanDependent: a query reads a later partition, or one before the look-back.
        UnknownPartition: a partition is outside the source's history.
    """
    case, now = workspace.case, workspace.at_one_moment()
    keys = case.check_span(span).keys
    wanted = inputs.wanted(now, "features", span)
    for table, parts in wanted.items():
        now.lake.require(table, parts)
    read = inputs.read(now, wanted)
    staged = {}
    with now.connect() as con:
        now.attach_raw(con, read)
        for view, query in feature_sql.compute(con, case, span).items():
            table = case.table("features", view)
            order, notes = case.features.views[view], provenance.note_of_view(case, view)
            staged[view] = workspace.stage(con, table, query, keys, attempt, order, read, notes)
    try:
        _refuse_other_clocks(case, staged)
        span_check.refuse_differences(now, span, read, staged)
    except (RowsRefused, SpanDependent):
        for stage_of_view in staged.values():
            workspace.lake.discard(stage_of_view)
        raise
    return Stages(folders={one.table: one.path for one in staged.values()})


def _refuse_other_clocks(case: UseCase, staged: Mapping[str, Stage]) -> None:
    """Refuse snapshots that are not as of the clock of their partition: point-in-time joins rest on it."""
    faults = []
    for view, stage_of_view in staged.items():
        for key, part in stage_of_view.partitions.items():
            clock = file_statistics.text_of(partitions.clock(key, case.time_zone))
            for column in (feature_sql.EVENT, feature_sql.CREATED):
                if part.rows and file_statistics.bounds_of(part.statistics, column) != (clock, clock):
                    faults.append(
                        f"{case.name}: view {view}: {column} of {key} is not {clock} in every row; a snapshot is as of "
                        f"its clock: select partitions.clock AS {column}"
                    )
    if faults:
        raise RowsRefused("\n".join(faults[:10]))


def definitions(workspace: WorkspaceReader) -> list[Any]:
    """Return the use case's Feast entities, views and service, over its tables in the lake.

    They follow from the spec and the tables, unless ``feast_repo/<use case>.py`` writes them out.

    Raises:
        MissingPartitions: a feature table has never been published.
        SpecError: a column has a type that Feast does not know.
    """
    case = workspace.case
    written = f"feast_repo.{case.assets_folder.name}"
    if find_spec(written) is not None:
        found: list[Any] = import_module(written).definitions(
            case.name, lambda view: workspace.lake.uri(case.table("features", view))
        )
        return found
    tables = {}
    for view in case.features.views:
        table = case.table("features", view)
        schema = workspace.lake.open(table).schema().to_arrow()
        tables[view] = (workspace.lake.uri(table), pa.schema(schema))
    return of_tables(case, tables)


def store(workspace: WorkspaceReader) -> feast.FeatureStore:
    """Open Feast's store of this use case; use cases share its settings, but not their registry entries.

    It reads the published feature tables of the workspace's own lake and no others.
    """
    tables = _tables(workspace)
    opened = {workspace.lake.uri(table): found for table in tables if (found := workspace.lake.find(table)) is not None}
    return feast_store.open_store(workspace.settings, workspace.case.name, opened)


@dataclass(frozen=True)
class Lookup:
    """The use case's feature service over the tables that one step opened."""

    opened: feast.FeatureStore
    service: str

    def add_to(self, rows: pa.Table) -> pa.Table:
        """Add to ``rows`` the values that the service had at the ``event_timestamp`` of each row."""
        return feast_store.historical_features(self.opened, self.service, rows)


def lookup(workspace: WorkspaceReader, read: Mapping[str, Input]) -> Lookup:
    """Open the lookup of a step, which serves all its chunks.

    Feature tables that ``read`` names are read at the version that it records, others as ``workspace`` sees them. The
    definitions are the workspace's own: the registry may hold those of another code version, or the addresses that
    the lake had before it was moved.

    Raises:
        MissingPartitions: a feature table has never been published.
    """
    versions = {table: value.version for table, value in read.items()}
    lake, tables = workspace.lake, _tables(workspace)
    opened = {lake.uri(table): lake.open(table, versions.get(table)) for table in tables}
    # definitions are of the newest version: a column that it has got since the recorded one is null
    newest = {lake.uri(table): pa.schema(lake.open(table).schema().to_arrow()) for table in tables}
    pinned = feast_store.open_store(workspace.settings, workspace.case.name, opened, newest)
    feast_store.register(pinned, definitions(workspace))
    return Lookup(pinned, workspace.case.features.service)


def lacking(workspace: WorkspaceReader, read: Mapping[str, Input]) -> frozenset[str]:
    """Return the columns of feature tables that none of the partitions in ``read`` has.

    They were added later, or left out again, and would be null in every row.
    """
    every: set[str] = set()
    there: set[str] = set()
    for table in _tables(workspace):
        newest, value = workspace.lake.open(table), read.get(table)
        names = {field.name for field in newest.schema().fields}
        every |= names
        if value is not None and columns.added(newest):
            keys = partitions.key_range(value.first, value.last)
            names = columns.of_partitions(newest, workspace.lake.records(table, keys, value.version))
        there |= names
    return frozenset(every - there)


def apply_definitions(workspace: WorkspaceReader, opened: feast.FeatureStore | None = None) -> list[str]:
    """Register the feature views with Feast if they have changed, and return their names.

    Raises:
        LifecycleError: the definitions that Feast returns are not those that were applied.
        SpecError: a declared type is not that of the published column.
    """
    defined = definitions(workspace)
    feast_store.apply_definitions(opened or store(workspace), defined)
    return sorted(one.name for one in defined if isinstance(one, feast.FeatureView))


def materialize(workspace: Workspace, span: Span) -> Materialized:
    """Bring the newest snapshot of ``span`` online, for every view; an online value is replaced by a newer one only."""
    case = workspace.case
    opened = store(workspace)
    views: Sequence[str] = apply_definitions(workspace, opened)
    begin, end = (partitions.clock(key, case.time_zone) for key in (span.first, span.last))
    feast_store.materialize(opened, views, begin, end)
    return Materialized(span=span, views=len(views))


def _tables(workspace: WorkspaceReader) -> list[str]:
    return [workspace.case.table("features", view) for view in workspace.case.features.views]
