"""Search and fit: one use case's study, its workers, and the model directory that comes out."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from include import challenger, reference, training_sets
from include.lake import Run
from include.registration import Challenger
from include.training import fit as fitting
from include.training import study
from include.training.evidence import Evidence
from include.training.model import EVIDENCE, load_model
from include.training.training_set import TrainingSet
from include.workspace import Workspace

_log = logging.getLogger(__name__)


def work(workspace: Workspace, training_set: dict[str, Any], trials: int | None) -> dict[str, Any]:
    """Be one worker of the study until its shared budget is settled; returns where the study stands."""
    frozen = training_sets.load(training_set)
    progress = study.search(
        workspace.settings.optuna_storage,
        study_of(workspace, frozen),
        frozen,
        workspace.case.training,
        trials=trials,
        threads=1,
    )
    _log.info("%s", progress)
    return asdict(progress)


def fit(workspace: Workspace, training_set: dict[str, Any], run: Run) -> dict[str, Any]:
    """Fit the study's winner into a model directory, judged on the test days; returns where it is.

    Raises:
        TrainingError: the study is unfinished, or none of its trials was completed.
    """
    frozen = training_sets.load(training_set)
    # a folder for each attempt: what a killed one left is never taken for a model
    folder = workspace.report_folder("models", run) / f"attempt-{run.attempt}"
    fitted = fitting.fit_best(
        workspace.settings.optuna_storage,
        study_of(workspace, frozen),
        frozen,
        workspace.case.training,
        folder,
        use_case=workspace.case.name,
        threads=workspace.settings.threads,
        write_reference=reference.write_reference,
    )
    _log.info("%s", fitted.evidence)
    return {"model_dir": str(folder), "digest": fitted.digest, "training_set": training_set}


def describe(workspace: Workspace, fitted: dict[str, Any], run: Run) -> Challenger:
    """Everything that is registered about a fitted model."""
    frozen = training_sets.load(fitted["training_set"])
    settings = workspace.settings
    trials = study.trials_table(settings.optuna_storage, study_of(workspace, frozen)).to_pylist()
    described = challenger.describe(
        _read(Path(fitted["model_dir"]), fitted["digest"]),
        frozen,
        trials,
        training_set_name=fitted["training_set"]["table"],
        code_version=settings.code_version,
        dag_run_id=run.run_id,
        output=workspace.case.training.label,
        more_tags={"as_of": fitted["training_set"]["as_of"]},
    )
    # labels were read up to the clock of `as_of`, a day beyond the last day that has a row
    return replace(described, trained_through=fitted["training_set"]["trained_through"])


def _read(folder: Path, digest: str) -> fitting.FittedModel:
    manifest = load_model(folder, digest).manifest
    evidence = Evidence.model_validate_json((folder / EVIDENCE).read_text(encoding="utf-8"))
    return fitting.FittedModel(folder, digest, manifest, evidence)


def study_of(workspace: Workspace, training_set: TrainingSet) -> str:
    """The study's name: one for each training set and search space."""
    return study.study_name(workspace.case.name, training_set.fingerprint, workspace.case.training)
