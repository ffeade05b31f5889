"""A worker of a search, in the process of the test: the real one is ``python -m include.training.study.worker``."""

from __future__ import annotations

from include.steps.handover import FrozenTrainingSet
from include.steps.train import search
from include.steps.workspace import Workspace
from include.training.study import study


def work(workspace: Workspace, training_set: FrozenTrainingSet, trials: int | None = None) -> None:
    """Pull trials of the training set's study until its budget is settled."""
    frozen, where = search.frozen_set(workspace, training_set), search.places(workspace)
    study.search(
        workspace.settings.optuna_storage,
        search.study_of(workspace, frozen),
        frozen,
        workspace.case.training,
        trials=trials,
        threads=1,
        prepared=where.prepared,
        checkpoints=where.checkpoints,
    )
