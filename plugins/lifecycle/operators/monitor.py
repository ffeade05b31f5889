"""Monitor: judge drift and past predictions, and request a training when the rule says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from lifecycle.links import TrainingRunLink
from lifecycle.operators.base import LifecycleOperator, SpanOperator

if TYPE_CHECKING:
    from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
    from airflow.sdk import Context


class MonitorOperator(SpanOperator):
    """Stage the verdict rows of a span of partitions, and keep the Evidently report of each window."""

    def execute(self, context: Context) -> dict[str, Any]:
        from include.core.partitions import Span
        from include.steps import monitor

        workspace, span = self.workspace(), self.take(Span, self.span)
        return self.give(monitor.stage(workspace, span, self.attempt_of(context, workspace)))


class RequestTrainingOperator(LifecycleOperator):
    """Trigger the training DAG if the newest windows violate; skip otherwise, and always in a backfill.

    An asset would not do: Airflow 3.3 lets the events of a run with a partition key wake partitioned DAGs only,
    and a training belongs to no partition. The training's DAG run is named by the partition that requested it, so
    that a repeated request, after a kill for example, starts no second training.

    :param published: what ``PublishOperator`` returned about the verdicts.
    :param training_dag: the DAG to trigger.
    """

    template_fields: Sequence[str] = ("published",)
    operator_extra_links = (TrainingRunLink(),)

    def __init__(self, *, published: Any, training_dag: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.published = published
        self.training_dag = training_dag

    def execute(self, context: Context) -> None:
        from include.steps import monitor
        from include.steps.handover import Published
        from lifecycle.context import origin_of

        workspace, key = self.workspace(), self.take(Published, self.published).span.last
        attempt = self.attempt_of(context, workspace)
        requested, reason = monitor.training_requested(workspace, key, origin_of(context), attempt)
        if not requested:
            raise AirflowSkipException(reason)
        self.log.info("%s: %s", self.training_dag, reason)
        run_id = f"requested__{key}"
        TrainingRunLink.save_run(context, self.training_dag, run_id)
        # it ends by raising: the task runner does the triggering
        self._trigger(run_id, key, reason).execute(context)

    def _trigger(self, run_id: str, key: str, reason: str) -> TriggerDagRunOperator:
        from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator

        return TriggerDagRunOperator(
            task_id=self.task_id,
            trigger_dag_id=self.training_dag,
            trigger_run_id=run_id,
            logical_date=None,
            conf={"as_of": key},
            note=reason,
            skip_when_already_exists=True,
        )
