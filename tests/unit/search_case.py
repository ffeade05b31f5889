"""Search in the test's own process, over the folders that real workers share."""

from __future__ import annotations

from include.steps.handover import FrozenTrainingSet
from include.steps.train import search
from include.steps.workspace import Workspace
from include.training.study import searching


def run_search(workspace: Workspace, training_set: FrozenTrainingSet, trials: int | None = None) -> None:
    """Be one worker of the training set's study until its budget is settled."""
    frozen, where = search.frozen_set(training_set), search.places(workspace)
    searching.search(
        workspace.settings.optuna_storage,
        search.study_of(workspace, frozen),
        frozen,
        workspace.case.training,
        trials=trials,
        prepared=where.prepared,
        checkpoints=where.checkpoints,
    )
