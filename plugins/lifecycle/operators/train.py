"""Train: freeze a training set, search, fit the best trial, register it as challenger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lifecycle.operators.accelerator import AcceleratorOperator
from lifecycle.operators.base import LifecycleOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.spec.accelerator import Place
    from include.steps.handover import FrozenTrainingSet, Progress
    from include.steps.workspace import Workspace


class FreezeTrainingSetOperator(LifecycleOperator):
    """Publish the training set as of a partition's clock; return its table, version and rows.

    The partition is the one that the monitor's request names, else the form's ``as_of``, else the newest.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        from include.steps.train import training_sets
        from lifecycle.context import check_begun

        workspace = self.workspace()
        as_of = context["params"].get("as_of") or workspace.newest("features")
        frozen = training_sets.freeze(workspace, check_begun(workspace, as_of), self.attempt_of(context, workspace))
        return self.give(frozen)


class SearchOperator(AcceleratorOperator):
    """One worker of the hyperparameter search: pulls trials of the shared study until the budget is used.

    Map it over worker numbers: a few workers that pull many trials each, never one task a trial. Returns the
    state of the study, and the usage of this worker.

    :param training_set: what ``FreezeTrainingSetOperator`` returned.
    :param worker: number of this worker, from 0.
    :param trials: budget of the whole study; empty for the spec's.
    """

    template_fields: Sequence[str] = ("training_set", "trials", "accelerator")

    def __init__(
        self, *, training_set: Any, worker: int = 0, trials: Any = "{{ params.trials }}", **kwargs: Any
    ) -> None:
        super().__init__(module="include.training.study.worker", **kwargs)
        self.training_set = training_set
        self.worker = worker
        self.trials = trials

    def worker_arguments(self, workspace: Workspace, place: Place) -> list[str]:
        from include.steps.train import search

        # rendered natively: the form's empty field arrives as None
        budget = int(self.trials) if self.trials else None
        here = place == "local"
        return search.arguments(workspace, self._frozen(), budget, threads=self.needs.cores, shared=here)

    def progress(self, workspace: Workspace) -> Progress:
        from include.steps.train import search

        return search.progress(workspace, self._frozen())

    def _frozen(self) -> FrozenTrainingSet:
        from include.steps.handover import FrozenTrainingSet

        return self.take(FrozenTrainingSet, self.training_set)


class FitBestOperator(LifecycleOperator):
    """Fit the study's best trial, calibrate it, judge it on the test days; return the model's folder.

    :param training_set: what ``FreezeTrainingSetOperator`` returned.
    """

    template_fields: Sequence[str] = ("training_set",)

    def __init__(self, *, training_set: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.training_set = training_set

    def execute(self, context: Context) -> dict[str, Any]:
        from include.steps.handover import FrozenTrainingSet
        from include.steps.train import search

        workspace, frozen = self.workspace(), self.take(FrozenTrainingSet, self.training_set)
        return self.give(search.fit(workspace, frozen, self.attempt_of(context, workspace)))


class RegisterOperator(LifecycleOperator):
    """Register the fitted model in MLflow as a challenger, and announce its version to the promotion DAG.

    :param fitted: what ``FitBestOperator`` returned.
    """

    template_fields: Sequence[str] = ("fitted",)

    def __init__(self, *, fitted: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fitted = fitted

    def execute(self, context: Context) -> dict[str, Any]:
        from include.steps.handover import Fitted
        from include.steps.train import registering

        workspace, fitted = self.workspace(), self.take(Fitted, self.fitted)
        registered = self.give(registering.register(workspace, fitted, self.attempt_of(context, workspace)))
        for outlet in self.outlets:
            context["outlet_events"][outlet].extra = registered
        return registered
