"""A stage is published only if its partitions and its inputs are as it found them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from include.core.errors import StaleStage
from include.lake.records import Attempt, Input
from include.steps import publishing
from include.steps.handover import Stages
from include.steps.workspace import Workspace
from tests.unit.small_source import DAY, NEXT, small_workspace

pytestmark = pytest.mark.fault

RAW, FIRST, SECOND = "flights/raw/tiny", "flights/features/first", "flights/features/second"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return small_workspace(tmp_path, "SELECT 1")


def staged(workspace: Workspace, table: str, value: int, run: str, read: dict[str, Input] | None = None) -> str:
    rows = pa.table({"value": [value, value], "ds": [DAY, NEXT]})
    by = Attempt("flights", "flights_test", run)
    stage = workspace.lake.stage(table, rows.to_reader(), [DAY, NEXT], by, (), read)
    stage.save_audit({"verdict": "passed", "docs": None})
    return stage.path


def publish(workspace: Workspace, run: str, **folders: str) -> None:
    named = {{"raw": RAW, "first": FIRST, "second": SECOND}[name]: path for name, path in folders.items()}
    publishing.publish(workspace, Stages(folders=named), Attempt("flights", "flights_test", run))


def test_a_stale_table_leaves_the_others_unpublished(workspace: Workspace) -> None:
    """C21: all tables are looked at before the first of them changes."""
    old = {"first": staged(workspace, FIRST, 1, "old"), "second": staged(workspace, SECOND, 1, "old")}
    publish(workspace, "new", second=staged(workspace, SECOND, 2, "new"))
    with pytest.raises(StaleStage, match=f"{SECOND}: {DAY}, {NEXT} changed since this stage was made"):
        publish(workspace, "old", **old)
    assert workspace.lake.version(FIRST) is None


def test_rows_of_inputs_that_changed_are_refused(workspace: Workspace) -> None:
    """C21: what a stage read is still there when it is published."""
    publish(workspace, "raw", raw=staged(workspace, RAW, 1, "raw"))
    read = {RAW: workspace.lake.inputs(RAW, [DAY, NEXT])}
    features = staged(workspace, FIRST, 1, "features", read)
    publish(workspace, "again", raw=staged(workspace, RAW, 2, "again"))
    with pytest.raises(StaleStage, match=f"{RAW}: {DAY}..{NEXT} was published again after"):
        publish(workspace, "features", first=features)


def test_inputs_with_the_same_content_in_a_newer_version_are_the_same(workspace: Workspace) -> None:
    """C21: only content counts, not the table's version."""
    publish(workspace, "raw", raw=staged(workspace, RAW, 1, "raw"))
    read = {RAW: workspace.lake.inputs(RAW, [DAY])}
    features = staged(workspace, FIRST, 1, "features", read)
    by = Attempt("flights", "flights_test", "next")
    rows = pa.table({"value": [9], "ds": [NEXT]})
    workspace.lake.publish(workspace.lake.stage(RAW, rows.to_reader(), [NEXT], by, ()), by)
    publish(workspace, "features", first=features)
    assert workspace.lake.keys(FIRST) == [DAY, NEXT]
