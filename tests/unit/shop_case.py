"""The use case ``shop``, which lies outside of the repository's own, and lakes for it."""

from __future__ import annotations

import shutil
from pathlib import Path

from include.core.partitions import Span
from include.core.settings import Settings
from include.lake.records import Attempt
from include.spec.use_case import UseCase
from include.steps import features, ingest, publishing
from include.steps.handover import Published
from include.steps.workspace import Workspace
from tests.unit import signing_case
from tests.unit.folder_case import load_from

FOLDER = Path(__file__).parents[1] / "use_cases"


def attempt(step: str = "ingest", name: str = "first") -> Attempt:
    return Attempt("shop", f"shop_{step}", name)


def shop(folder: Path = FOLDER) -> UseCase:
    """Load the use case from ``folder``, as a deployment would that names the folder in its settings."""
    return load_from(folder, "shop")


def shop_with(folder: Path, **queries: str) -> UseCase:
    """Load a copy of the use case in ``folder`` with other text in some of its queries, named by view or file."""
    shutil.copytree(FOLDER / "shop", folder / "cases" / "shop")
    for name, text in queries.items():
        (path,) = (folder / "cases" / "shop" / "sql").rglob(f"{name}.sql")
        path.write_text(text, encoding="utf-8")
    return shop(folder / "cases")


def workspace(folder: Path, case: UseCase) -> Workspace:
    """Return a workspace whose every part lies in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = Settings.in_folder(folder, **signing_case.shared())
    return Workspace(settings, case)


def land(there: Workspace, span: Span) -> None:
    """Land, audit and publish the raw tables of ``span``."""
    by = attempt()
    stages = ingest.land(there, span, by)
    publishing.audit(there, stages, by)
    publishing.publish(there, stages, by)


def compute_features(there: Workspace, span: Span, name: str = "first") -> Published:
    """Compute, audit and publish the features of ``span``."""
    by = attempt("features", name)
    stages = features.stage(there, span, by)
    publishing.audit(there, stages, by)
    return publishing.publish(there, stages, by)
