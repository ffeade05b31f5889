"""The use case ``shop``, which lies outside of the repository's own, and lakes for it."""

from __future__ import annotations

import shutil
from pathlib import Path

from mlflow import MlflowClient

from include.core.partitions import Span
from include.core.settings import Settings
from include.lake.records import Attempt
from include.spec.use_case import UseCase
from include.steps import features, ingest, monitor, publishing
from include.steps.handover import Published, Stages
from include.steps.promote import deciding
from include.steps.score import predicting
from include.steps.train import registering, search, training_sets
from include.steps.train.search import search_here
from include.steps.workspace import Workspace
from tests.unit import signing_case
from tests.unit.chain import once
from tests.unit.folder_case import load_from

FIRST, AS_OF, LAST = "2024-03-01", "2024-05-06", "2024-05-17"
"""The partitions that ``chained`` loads, and the one that it trains as of and scores from."""

FOLDER = Path(__file__).parents[1] / "use_cases"


def attempt(step: str = "ingest", name: str = "first", case: str = "shop") -> Attempt:
    return Attempt(case, f"{case}_{step}", name)


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
    by = attempt(case=there.case.name)
    stages = ingest.land(there, span, by)
    publishing.audit(there, stages, by)
    publishing.publish(there, stages, by)


def compute_features(there: Workspace, span: Span, name: str = "first") -> Published:
    """Compute, audit and publish the features of ``span``."""
    return audited(there, "features", features.stage(there, span, attempt("features", name, there.case.name)), name)


def audited(there: Workspace, step: str, stages: Stages, name: str = "first") -> Published:
    """Audit and publish stages of a step."""
    by = attempt(step, name, there.case.name)
    publishing.audit(there, stages, by)
    return publishing.publish(there, stages, by)


def train_and_promote(there: Workspace, as_of: str, name: str = "first") -> None:
    """Freeze, search, fit, register, and promote whatever the gates think of it."""
    by = attempt("train", name, there.case.name)
    frozen = training_sets.freeze(there, as_of, by)
    search_here(there, frozen)
    registering.register(there, search.fit(there, frozen, by), by)
    by = attempt("promote", name, there.case.name)
    proposal = deciding.propose(there, None, by)
    deciding.promote(there, proposal.model_copy(update={"change": True}), "a test", by)


def score(there: Workspace, span: Span, name: str = "first") -> Published:
    """Predict, audit and publish ``span``."""
    by = attempt("score", name, there.case.name)
    return audited(there, "score", predicting.stage(there, span, predicting.AS_OF_CLOCK, by), name)


def judge(there: Workspace, span: Span, name: str = "first") -> Published:
    """Monitor ``span``, audit and publish the verdicts."""
    return audited(there, "monitor", monitor.stage(there, span, attempt("monitor", name, there.case.name)), name)


def chained() -> Workspace:
    """Return a lake after bootstrap, training, promotion, scoring and monitoring. Shared: change a ``copied`` one."""
    folder = once("shop_chain", _chain)
    return Workspace(Settings.in_folder(folder, **signing_case.shared()), _from_first(shop()))


def copied(there: Workspace, folder: Path) -> Workspace:
    """Return ``there`` with a lake, MLflow, and all else of its own."""
    shutil.copytree(Path(there.settings.lake_root).parent, folder / "all")
    return Workspace(Settings.in_folder(folder / "all", **signing_case.shared()), there.case)


def _from_first(case: UseCase) -> UseCase:
    return case.model_copy(update={"history": case.history.model_copy(update={"first": FIRST})})


def _chain(folder: Path) -> None:
    there, everything = workspace(folder, _from_first(shop())), Span(first=FIRST, last=LAST)
    land(there, everything)
    compute_features(there, everything)
    features.materialize(there, everything)
    MlflowClient(there.settings.mlflow_tracking_uri).create_experiment("shop", artifact_location=str(folder / "files"))
    train_and_promote(there, AS_OF)
    score(there, Span(first=AS_OF, last=LAST))
    judge(there, Span.one(LAST))
