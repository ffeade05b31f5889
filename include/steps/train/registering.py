"""Register a fitted model: everything that is recorded about it goes to MLflow as a new model version."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from include.accelerators import tracking, usage
from include.lake.records import Attempt
from include.registry import keys, model_versions
from include.registry.artifacts import CARD_FOLDER
from include.registry.registration import Challenger
from include.steps.handover import Fitted, Registered
from include.steps.train import challenger, model_card, search, training_sets
from include.steps.workspace import Workspace
from include.training.fit import FittedModel
from include.training.model import read_evidence, read_manifest, verify
from include.training.study import results
from include.training.study.storage import alone

_log = logging.getLogger(__name__)


def register(workspace: Workspace, fitted: Fitted, attempt: Attempt) -> Registered:
    """Register a fitted model with its card and the usage of its search.

    A repetition finds the version that the first attempt made. Attempts that run at the same time take turns:
    MLflow cannot create a version only if no version has its key, and a second version that is deleted afterwards
    could have been promoted meanwhile. The turn is a lock in the study database, which all attempts share. The
    lock ends with the process that holds it.

    Raises:
        SettingsError: this process has no key to sign with, or nobody would trust what it signs.
    """
    # before anything is recorded: a version without signature could not be used
    signer = keys.signer(workspace.settings)
    described = describe(workspace, fitted, attempt)
    card = model_card.write(workspace, described, workspace.report_folder("model_cards", attempt))
    uri = workspace.settings.mlflow_tracking_uri
    used = usage.total(tracking.recorded_in(uri, workspace.case.name, attempt.run_id))
    described = replace(described, metrics={**described.metrics, **used}, files={**described.files, CARD_FOLDER: card})
    with alone(workspace.settings.optuna_storage, f"registration of {workspace.case.name}"):
        version = model_versions.register(uri, described, signer)
    _log.info("%s version %d, digest %s; %s", workspace.case.name, version.number, version.digest[:12], card)
    return Registered(version=str(version.number), trained_through=version.trained_through)


def describe(workspace: Workspace, fitted: Fitted, attempt: Attempt) -> Challenger:
    """Gather everything that is registered about a fitted model."""
    frozen = training_sets.load(fitted.training_set)
    settings = workspace.settings
    trials = results.trials_table(settings.optuna_storage, search.study_of(workspace, frozen)).to_pylist()
    described = challenger.describe(
        _read(Path(fitted.model_dir), fitted.digest),
        frozen,
        trials,
        training_set_name=fitted.training_set.table,
        code_version=settings.code_version,
        dag_run_id=attempt.run_id,
        output=workspace.case.training.label,
        more_tags={"as_of": fitted.training_set.as_of},
    )
    # labels were read up to the clock of `as_of`, a day beyond the last day that has a row
    return replace(described, trained_through=fitted.training_set.trained_through)


def _read(folder: Path, digest: str) -> FittedModel:
    verify(folder, digest)
    manifest = read_manifest(folder)
    evidence = read_evidence(folder)
    return FittedModel(folder, digest, manifest, evidence)
