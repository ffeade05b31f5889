"""The newest partition is the newest one that was published, be it empty."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from include.core.errors import MissingPartitions
from include.core.settings import Settings
from include.lake.records import Attempt
from include.spec.loading import load_use_case
from include.steps.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    root = str(tmp_path)
    settings = Settings(
        lake_root=root,
        reports_root=root,
        work_root=root,
        online_store=f"{root}/online.db",
        feast_registry="sqlite://",
        optuna_storage="sqlite://",
        mlflow_tracking_uri="sqlite://",
        source_cache=root,
    )
    return Workspace(settings, load_use_case("flights"))


def publish(workspace: Workspace, key: str, rows: int) -> None:
    attempt = Attempt("flights", "flights_ingest", key)
    values = pa.table({"value": pa.array(range(rows), pa.int64()), "ds": pa.array([key] * rows, pa.string())})
    for name in workspace.case.partitioned_raw:
        stage = workspace.lake.stage(f"flights/raw/{name}", values.to_reader(), [key], attempt, order=())
        workspace.lake.publish(stage, attempt)


def test_before_the_first_publish_the_remedy_is_named(workspace: Workspace) -> None:
    with pytest.raises(MissingPartitions, match="run flights_bootstrap first"):
        workspace.newest("raw")


def test_a_first_partition_without_rows_is_the_newest(workspace: Workspace) -> None:
    publish(workspace, "2013-01-01", rows=0)
    assert workspace.newest("raw") == "2013-01-01"


def test_an_empty_partition_after_one_with_rows_is_the_newest(workspace: Workspace) -> None:
    publish(workspace, "2013-01-02", rows=2)
    publish(workspace, "2013-01-03", rows=0)
    assert workspace.newest("raw") == "2013-01-03"
