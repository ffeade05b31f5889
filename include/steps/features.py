"""Features of one use case: staged from published raw tables, known to Feast, newest values online."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import feast

from include.core import partitions
from include.feature_store import feast_store, feature_sql
from include.lake import snapshot
from include.lake.records import Attempt
from include.steps import inputs
from include.steps.workspace import Workspace


@snapshot.held()
def stage(workspace: Workspace, first: str, last: str, attempt: Attempt) -> dict[str, str]:
    """Stage every feature view's snapshots for ``first``..``last``; returns each table's stage folder.

    Raises:
        MissingPartitions: a raw partition in the look-back window is not published.
    """
    case = workspace.case
    keys = case.check_keys(first, last)
    wanted = inputs.wanted(workspace, "features", keys)
    for table, parts in wanted.items():
        workspace.lake.require(table, parts)
    read = inputs.read(workspace, wanted)
    stages = {}
    with workspace.connect() as con:
        workspace.attach_raw(con, read)
        queries = feature_sql.compute(con, case.assets_folder / "sql", first, last, case.time_zone)
        for view, query in queries.items():
            table = case.table("features", view)
            stages[table] = workspace.stage(con, table, query, keys, attempt, case.features.views[view], read)
    return stages


def definitions(workspace: Workspace) -> list[Any]:
    """The use case's Feast entities, views and service, over its tables in the lake."""
    case = workspace.case
    module = import_module(f"feast_repo.{case.like or case.name}")
    found: list[Any] = module.definitions(case.name, lambda view: workspace.lake.uri(case.table("features", view)))
    return found


def store(workspace: Workspace) -> feast.FeatureStore:
    """Feast's store of this use case; it shares settings with every other one, not its registry entries."""
    return feast_store.open_store(workspace.settings, workspace.case.name)


def apply_definitions(workspace: Workspace, opened: feast.FeatureStore | None = None) -> list[str]:
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
