"""Features of one use case: staged from published raw tables, known to Feast, newest values online."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import feast
import pyarrow as pa

from include.core import partitions
from include.feature_store import feast_store, feature_sql
from include.lake.records import Attempt, Input
from include.steps import inputs
from include.steps.workspace import Workspace, WorkspaceReader


def stage(workspace: Workspace, first: str, last: str, attempt: Attempt) -> dict[str, str]:
    """Stage every feature view's snapshots for ``first``..``last``; returns each table's stage folder.

    Raises:
        MissingPartitions: a raw partition in the look-back window is not published.
    """
    case, now = workspace.case, workspace.at_one_moment()
    keys = case.check_keys(first, last)
    wanted = inputs.wanted(now, "features", keys)
    for table, parts in wanted.items():
        now.lake.require(table, parts)
    read = inputs.read(now, wanted)
    stages = {}
    with now.connect() as con:
        now.attach_raw(con, read)
        queries = feature_sql.compute(con, case.assets_folder / "sql", first, last, case.time_zone)
        for view, query in queries.items():
            table = case.table("features", view)
            stages[table] = workspace.stage(con, table, query, keys, attempt, case.features.views[view], read)
    return stages


def definitions(workspace: WorkspaceReader) -> list[Any]:
    """The use case's Feast entities, views and service, over its tables in the lake."""
    case = workspace.case
    module = import_module(f"feast_repo.{case.like or case.name}")
    found: list[Any] = module.definitions(case.name, lambda view: workspace.lake.uri(case.table("features", view)))
    return found


def store(workspace: WorkspaceReader) -> feast.FeatureStore:
    """Feast's store of this use case; it shares settings with every other one, not its registry entries."""
    return feast_store.open_store(workspace.settings, workspace.case.name)


def look_up(workspace: WorkspaceReader, rows: pa.Table, read: Mapping[str, Input]) -> pa.Table:
    """Add to ``rows`` what the use case's feature service knew at the ``event_timestamp`` of each.

    Feature tables that ``read`` names are read at the version that it records, others as ``workspace`` sees them.
    """
    case, lake = workspace.case, workspace.lake
    versions = {table: value.version for table, value in read.items()}
    tables = [case.table("features", view) for view in case.features.views]
    opened = {lake.uri(table): lake.open(table, versions.get(table)) for table in tables}
    pinned = feast_store.open_store(workspace.settings, case.name, opened)
    return feast_store.historical_features(pinned, case.features.service, rows)


def apply_definitions(workspace: WorkspaceReader, opened: feast.FeatureStore | None = None) -> list[str]:
    """Tell Feast what the feature views are, if it does not know yet; returns their names.

    Raises:
        LifecycleError: read back, they are not what was applied.
    """
    defined = definitions(workspace)
    feast_store.apply_definitions(opened or store(workspace), defined)
    return sorted(one.name for one in defined if isinstance(one, feast.FeatureView))


def materialize(workspace: Workspace, first: str, last: str) -> dict[str, Any]:
    """Bring the newest snapshot of ``first``..``last`` online, for every view; older values never win.

    Returns the range, the views, and how many rows were offered.
    """
    case = workspace.case
    opened = store(workspace)
    views: Sequence[str] = apply_definitions(workspace, opened)
    begin = partitions.clock(first, case.time_zone)
    end = partitions.clock(last, case.time_zone)
    feast_store.materialize(opened, views, begin, end)
    return {"first": first, "last": last, "views": len(views)}
