"""Search and fit: one use case's study, its workers, and the model directory that comes out."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from include.lake.records import Attempt
from include.monitoring import reference
from include.registry.registration import Challenger
from include.steps.train import challenger, training_sets
from include.steps.workspace import Workspace
from include.training import fit as fitting
from include.training.judging.evidence import Evidence
from include.training.model import EVIDENCE, load_model
from include.training.study import results, searching
from include.training.study.prepared import Frozen, SharedFolder, discard_data
from include.training.training_set import TrainingSet

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Places:
    """Folders that all workers of a use case's searches share.

    Attributes:
        prepared: encoded training sets, removed once a winner was fitted.
        checkpoints: where trials leave off and where a study's best trials are kept.
        known: small files: fingerprints of frozen training sets, settings of workers.
    """

    prepared: Path
    checkpoints: Path
    known: SharedFolder


def places(workspace: Workspace) -> Places:
    """Where the searches of the workspace's use case keep their files."""
    root = Path(workspace.settings.work_root) / "searches" / workspace.case.name
    return Places(root / "prepared", root / "checkpoints", SharedFolder(root / "known"))


def arguments(
    workspace: Workspace,
    training_set: dict[str, Any],
    trials: int | None = None,
    *,
    threads: int = 1,
    shared: bool = True,
) -> list[str]:
    """The arguments of one worker, ``python -m include.training.study.worker``, of the training set's study.

    Where it runs, ``LIFECYCLE_OPTUNA_STORAGE`` must be set. ``shared`` says whether it sees the folders of
    this deployment; without them it takes its settings from the use case of that name in its own code.
    """
    frozen, where, case = frozen_set(workspace, training_set), places(workspace), workspace.case
    line = ["--study", study_of(workspace, frozen), "--training-set", training_set["uri"]]
    line += ["--version", str(training_set["version"]), "--fingerprint", frozen.fingerprint]
    line += ["--threads", str(threads)]
    if shared:
        text = case.training.model_dump_json()
        name = f"settings-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"
        settings = where.known.file(name, lambda path: _write(path, text))
        line += ["--settings", str(settings)]
        line += ["--prepared", str(where.prepared), "--checkpoints", str(where.checkpoints)]
    else:
        line += ["--use-case", case.name]
    return line if trials is None else [*line, "--trials", str(trials)]


def progress(workspace: Workspace, training_set: dict[str, Any]) -> dict[str, Any]:
    """Where the study of a training set stands."""
    found = results.study_progress(
        workspace.settings.optuna_storage, study_of(workspace, frozen_set(workspace, training_set))
    )
    _log.info("%s", found)
    return asdict(found)


def frozen_set(workspace: Workspace, training_set: dict[str, Any]) -> Frozen:
    """A frozen training set by its fingerprint; its rows are read only if nobody has read them yet."""
    read: list[TrainingSet] = []

    def rows() -> TrainingSet:
        if not read:
            read.append(training_sets.load(training_set))
        return read[0]

    # a version of a Delta table never changes, so its fingerprint is worked out once
    name = hashlib.sha256(f"{training_set['uri']}@{training_set['version']}".encode()).hexdigest()[:16]
    known = places(workspace).known.file(f"fingerprint-{name}", lambda path: _write(path, rows().fingerprint))
    return Frozen(known.read_text(), rows)


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def fit(workspace: Workspace, training_set: dict[str, Any], attempt: Attempt) -> dict[str, Any]:
    """Fit the study's winner into a model directory, judged on the test days; returns where it is.

    Raises:
        TrainingError: the study is unfinished, or none of its trials was completed.
    """
    frozen = training_sets.load(training_set)
    # a folder for each attempt: what a killed one left is never taken for a model
    folder = workspace.work_folder("fits", attempt) / f"attempt-{attempt.number}"
    fitted = fitting.fit_best(
        workspace.settings.optuna_storage,
        study_of(workspace, frozen),
        frozen,
        workspace.case.training,
        folder,
        use_case=workspace.case.name,
        threads=workspace.settings.threads,
        checkpoints=places(workspace).checkpoints,
        write_reference=reference.write_reference,
    )
    discard_data(places(workspace).prepared, frozen.fingerprint)
    _log.info("%s", fitted.evidence)
    return {"model_dir": str(folder), "digest": fitted.digest, "training_set": training_set}


def describe(workspace: Workspace, fitted: dict[str, Any], attempt: Attempt) -> Challenger:
    """Everything that is registered about a fitted model."""
    frozen = training_sets.load(fitted["training_set"])
    settings = workspace.settings
    trials = results.trials_table(settings.optuna_storage, study_of(workspace, frozen)).to_pylist()
    described = challenger.describe(
        _read(Path(fitted["model_dir"]), fitted["digest"]),
        frozen,
        trials,
        training_set_name=fitted["training_set"]["table"],
        code_version=settings.code_version,
        dag_run_id=attempt.run_id,
        output=workspace.case.training.label,
        more_tags={"as_of": fitted["training_set"]["as_of"]},
    )
    # labels were read up to the clock of `as_of`, a day beyond the last day that has a row
    return replace(described, trained_through=fitted["training_set"]["trained_through"])


def _read(folder: Path, digest: str) -> fitting.FittedModel:
    manifest = load_model(folder, digest).manifest
    evidence = Evidence.model_validate_json((folder / EVIDENCE).read_text(encoding="utf-8"))
    return fitting.FittedModel(folder, digest, manifest, evidence)


def study_of(workspace: Workspace, training_set: TrainingSet | Frozen) -> str:
    """The study's name: one for each training set and search space."""
    return searching.study_name(workspace.case.name, training_set.fingerprint, workspace.case.training)
