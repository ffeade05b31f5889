"""Search and fit: one use case's study, its workers, and the folder of the fitted model."""

from __future__ import annotations

import functools
import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from include.lake.records import Attempt
from include.monitoring import reference
from include.steps.handover import Fitted, FrozenTrainingSet, Progress
from include.steps.train import training_sets
from include.steps.workspace import Workspace
from include.training import fit as fitting
from include.training.study import results, searching
from include.training.study.prepared import Frozen, SharedFolder, discard_data
from include.training.training_set import TrainingSet

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Places:
    """Folders that all workers of a use case's searches share.

    Attributes:
        prepared: encoded training sets, removed once a winner was fitted.
        checkpoints: states of interrupted trials, and the best trials of each study.
        known: small files: the settings of workers.
    """

    prepared: Path
    checkpoints: Path
    known: SharedFolder


def places(workspace: Workspace) -> Places:
    """Return the folders in which the searches of the use case keep their files."""
    root = Path(workspace.settings.work_root) / "searches" / workspace.case.name
    return Places(root / "prepared", root / "checkpoints", SharedFolder(root / "known"))


def arguments(
    workspace: Workspace,
    training_set: FrozenTrainingSet,
    trials: int | None = None,
    *,
    threads: int = 1,
    shared: bool = True,
) -> list[str]:
    """Return the arguments of ``python -m include.training.study.worker`` for one worker of the set's study.

    ``LIFECYCLE_OPTUNA_STORAGE`` must be set where the worker runs. ``shared`` says whether the worker sees the
    folders of this deployment. A worker that does not see them reads its settings from the use case of that name
    in its own copy of the code.
    """
    where, case = places(workspace), workspace.case
    line = ["--study", study_of(workspace, training_set), "--training-set", training_set.uri]
    line += ["--version", str(training_set.version), "--fingerprint", training_set.fingerprint]
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


def search_here(workspace: Workspace, training_set: FrozenTrainingSet, trials: int | None = None) -> None:
    """Be one worker of the training set's study, in this process, until its budget is settled."""
    frozen, where = frozen_set(training_set), places(workspace)
    searching.search(
        workspace.settings.optuna_storage,
        study_of(workspace, frozen),
        frozen,
        workspace.case.training,
        trials=trials,
        threads=workspace.settings.threads,
        prepared=where.prepared,
        checkpoints=where.checkpoints,
    )


def progress(workspace: Workspace, training_set: FrozenTrainingSet) -> Progress:
    """Return the state of a training set's study."""
    found = results.study_progress(workspace.settings.optuna_storage, study_of(workspace, training_set))
    _log.info("%s", found)
    return found


def frozen_set(training_set: FrozenTrainingSet) -> Frozen:
    """Return a frozen training set whose rows are read, once, only if they are needed."""
    return Frozen(training_set.fingerprint, functools.cache(lambda: training_sets.load(training_set)))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def fit(workspace: Workspace, training_set: FrozenTrainingSet, attempt: Attempt) -> Fitted:
    """Fit the study's winner into a model folder, and judge it on the test window.

    Raises:
        TrainingError: the study is unfinished, or none of its trials was completed.
    """
    frozen = training_sets.load(training_set)
    # one folder for each attempt: files that a killed attempt left are never taken for a model
    folder = workspace.work_folder("fits", attempt) / f"attempt-{attempt.name}"
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
    return Fitted(model_dir=str(folder), digest=fitted.digest, training_set=training_set)


def study_of(workspace: Workspace, training_set: TrainingSet | Frozen | FrozenTrainingSet) -> str:
    """Return the name of the study: one for each training set and search space."""
    return searching.study_name(workspace.case.name, training_set.fingerprint, workspace.case.training)
