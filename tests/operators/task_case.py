"""What a task sees when it runs, as plain values; and a lake with a few rows."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pyarrow as pa
from airflow.sdk import Asset
from airflow.sdk.execution_time.context import OutletEventAccessors

from include.lake.records import Attempt
from include.sources.adapter import REFERENCE
from include.steps.workspace import Workspace

FIRST = "2013-01-01"
SETTINGS = {
    "LIFECYCLE_LAKE_ROOT": "lake",
    "LIFECYCLE_REPORTS_ROOT": "reports",
    "LIFECYCLE_WORK_ROOT": "work",
    "LIFECYCLE_ONLINE_STORE": "online.db",
    "LIFECYCLE_SOURCE_CACHE": "sources",
    "LIFECYCLE_FEAST_REGISTRY": "registry.db",
    "LIFECYCLE_OPTUNA_STORAGE": "optuna.db",
    "MLFLOW_TRACKING_URI": "mlflow",
}


def event(extra: dict[str, Any], minute: int = 0) -> Any:
    """Make an asset event that woke a DAG run, published so many minutes after noon."""
    return SimpleNamespace(extra=extra, timestamp=datetime(2013, 11, 2, 12, tzinfo=UTC) + timedelta(minutes=minute))


def context(
    key: str | None = None,
    *,
    run_type: str = "manual",
    conf: dict[str, Any] | None = None,
    events: Iterable[Any] = (),
    attempt: int = 1,
) -> dict[str, Any]:
    """Make the context of a task of ``flights_test``; ``conf`` is also the content of its form."""
    woken_by = {Asset(name="upstream", uri="lifecycle://flights/upstream"): list(events)}
    return {
        "dag_run": SimpleNamespace(partition_key=key, run_type=run_type, conf=conf),
        "params": dict(conf or {}),
        "ti": SimpleNamespace(
            id=UUID(int=attempt),
            dag_id="flights_test",
            run_id=f"{run_type}__1",
            try_number=attempt,
            xcom_push=lambda key, value: None,
        ),
        "outlet_events": OutletEventAccessors(),
        "triggering_asset_events": woken_by if woken_by[next(iter(woken_by))] else {},
    }


def publish(workspace: Workspace, layer: str, names: Iterable[str], keys: list[str]) -> None:
    """Publish one row for each key of each table."""
    attempt = Attempt(workspace.case.name, "flights_test", f"setup-{layer}-{keys[-1]}")
    for name in names:
        table = workspace.case.table(layer, name)
        rows = pa.table({"value": pa.array(range(len(keys)), pa.int64()), "ds": pa.array(keys, pa.string())})
        workspace.lake.publish(workspace.lake.stage(table, rows.to_reader(), keys, attempt, ("value",)), attempt)


def publish_raw(workspace: Workspace, keys: list[str]) -> None:
    publish(workspace, "raw", workspace.case.partitioned_raw, keys)
    publish(workspace, "raw", workspace.case.reference_raw, [REFERENCE])
