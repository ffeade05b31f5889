"""Reprocess: plan what is stale, and train again where the champion rests on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from lifecycle.links import TrainingRunLink
from lifecycle.operators.base import LifecycleOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class PlanOperator(LifecycleOperator):
    """Return the spans to compute again: ``features``, ``scores``, ``verdicts``, and ``train_as_of``; each may be None.

    :param asked: name of the plan that somebody has read; any other plan is refused. None takes the plan of now.
    """

    template_fields: Sequence[str] = ("asked",)

    def __init__(self, *, asked: Any = "{{ params.plan }}", **kwargs: Any) -> None:
        super().__init__(multiple_outputs=True, **kwargs)
        self.asked = asked

    def execute(self, context: Context) -> dict[str, Any]:
        from include.steps.plan import planning, told

        found = planning.make(self.workspace())
        planning.refuse_other(found, self.asked)
        for line in told.lines(found):
            self.log.info(line)
        return self.give(planning.now(found))


class TrainStaleOperator(LifecycleOperator):
    """Trigger a training if the champion is stale, and skip otherwise; its challenger wakes the promotion.

    :param as_of: the partition to train as of; None where the champion is not stale.
    :param training_dag: the DAG to trigger.
    """

    template_fields: Sequence[str] = ("as_of",)
    operator_extra_links = (TrainingRunLink(),)

    def __init__(self, *, as_of: Any, training_dag: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.as_of = as_of
        self.training_dag = training_dag

    def execute(self, context: Context) -> None:
        from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator

        if self.as_of is None:
            raise AirflowSkipException("the champion is not stale")
        # named by the DAG run that asks, so that a task that is tried again starts no second training
        asked_by = context["ti"].run_id
        run_id = f"reprocess__{asked_by}"
        TrainingRunLink.save_run(context, self.training_dag, run_id)
        # it ends by raising: the task runner does the triggering
        TriggerDagRunOperator(
            task_id=self.task_id,
            trigger_dag_id=self.training_dag,
            trigger_run_id=run_id,
            logical_date=None,
            conf={"as_of": self.as_of},
            note=f"the champion is stale; asked by {self.dag_id} {asked_by}",
            skip_when_already_exists=True,
        ).execute(context)
