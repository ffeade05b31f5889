"""A use case with one small raw table that a query delivers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import yaml

from include.core.settings import Settings
from include.spec.loading import load_use_case
from include.spec.use_case import RawTable
from include.steps.workspace import Workspace

DAY, NEXT = "2013-11-02", "2013-11-03"


@dataclass(frozen=True)
class QuerySource:
    """Deliver the rows of one query as the table ``tiny``."""

    query: str

    def deliver(self, con: duckdb.DuckDBPyConnection, first: str, last: str) -> dict[str, str]:
        return {"tiny": self.query}


def small_workspace(
    folder: Path, query: str, rule: str | None = None, columns: dict[str, str] | None = None
) -> Workspace:
    """Return a workspace in ``folder`` whose source delivers ``query``; its suite has one quarantine rule at most."""
    root = str(folder / "lake")
    settings = Settings(
        lake_root=root,
        reports_root=str(folder / "reports"),
        work_root=root,
        online_store=f"{root}/online.db",
        feast_registry="sqlite://",
        optuna_storage="sqlite://",
        mlflow_tracking_uri="sqlite://",
        source_cache=root,
    )
    suite: dict[str, Any] = {
        "table": "tiny",
        "key": ["id"],
        "columns": columns or {"ds": "VARCHAR", "id": "INTEGER"},
        "quarantine": [] if rule is None else [{"name": "rule", "when": rule, "reason": "the test says so"}],
        "expectations": [],
    }
    assets = folder / "assets"
    (assets / "suites").mkdir(parents=True, exist_ok=True)
    (assets / "suites" / "tiny.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")
    case = load_use_case("flights").model_copy(update={"raw": {"tiny": RawTable(key=("id",))}})
    case._assets_folder = assets
    workspace = Workspace(settings, case)
    # a cached property: the first look would import the adapter that the spec names
    workspace.__dict__["source"] = QuerySource(query)
    return workspace
