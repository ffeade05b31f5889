"""Promotion: a challenger is registered, judged against the champion, and swapped in if it is better."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from mlflow import MlflowClient

from include import gates, ledger, registry, scoring, search
from include.errors import LifecycleError
from include.lake import Run
from include.training.data import split
from include.training.model import LoadedModel, load_model
from include.training.training_set import open_training_set
from include.workspace import Workspace

_log = logging.getLogger(__name__)


def register(workspace: Workspace, fitted: dict[str, Any], run: Run) -> dict[str, Any]:
    """Register a fitted model; a repetition finds the version that the first attempt made."""
    described = search.describe(workspace, fitted, run)
    version = registry.register(workspace.settings.mlflow_tracking_uri, described)
    _log.info("%s version %d, digest %s", workspace.case.name, version.number, version.digest[:12])
    return {"version": str(version.number), "trained_through": version.trained_through}


def decide(workspace: Workspace, version: str | None, run: Run) -> dict[str, Any]:
    """Judge a challenger on its test days and promote it if the verdict says so.

    Without ``version`` the newest registered one is judged. The champion's files are compared on the same
    rows. Judging the champion itself changes nothing.

    Returns:
        The version, whether it was promoted, and the verdict.

    Raises:
        LifecycleError: the version does not exist.
        PromotionConflict: another promotion was recorded meanwhile; nothing changed.
    """
    uri, case = workspace.settings.mlflow_tracking_uri, workspace.case
    number = int(version) if version else newest_version(workspace)
    entries = ledger.promotions(workspace)
    champion = entries[-1] if entries else None
    if champion is not None and champion.version == number:
        # the alias follows the ledger: a kill between the two is mended here
        registry.set_alias_champion(uri, case.name, number)
        return {"version": number, "promoted": False, "reason": f"version {number} is the champion already"}
    found = registry.version_info(uri, case.name, number)
    verdict = _judge(workspace, found, champion)
    _log.info("version %d: %s", number, verdict.reason)
    if verdict.promote:
        entry = ledger.Promotion(
            entry=len(entries) + 1,
            version=number,
            trained_through=found.trained_through,
            previous=champion.version if champion else None,
            decided_by=case.promotion,
            evidence=verdict.model_dump_json(),
        )
        ledger.record(workspace, entry, run)
        registry.set_alias_champion(uri, case.name, number)
    return {"version": number, "promoted": verdict.promote, "reason": verdict.reason}


def newest_version(workspace: Workspace) -> int:
    """The number of the version that was registered last.

    Raises:
        LifecycleError: none was.
    """
    name = workspace.case.name
    client = MlflowClient(workspace.settings.mlflow_tracking_uri)
    numbers = [int(found.version) for found in client.search_model_versions(f"name = '{name}'")]
    if not numbers:
        raise LifecycleError(f"{name} has no registered version; run {name}_train first")
    return max(numbers)


def _judge(workspace: Workspace, found: registry.Version, champion: ledger.Promotion | None) -> gates.Verdict:
    """Both models on the test window of the challenger's training set."""
    training_set = open_training_set(
        found.tags["training_set"],
        int(found.tags["training_set_version"]),
        found.tags["training_set_fingerprint"],
    )
    test = split(training_set.table, workspace.case.training).test
    threads = workspace.settings.threads

    def predicted(version: int) -> np.ndarray:
        model: LoadedModel = load_model(scoring.model_folder(workspace, version))
        return model.predict(test.table, threads)

    days = gates.TestDays(
        days=np.asarray(test.day_names)[test.days],
        y=test.y,
        challenger=predicted(found.number),
        champion=predicted(champion.version) if champion else None,
    )
    return gates.judge(days, workspace.case.gates)
