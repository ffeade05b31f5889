"""Watch a partition: drift of features and predictions, and quality of predictions whose outcomes are known.

Drift is decided on all rows against the reference stored with the champion; the Evidently report shows a
bounded sample. Verdicts are published as rows. Training is requested when at least two of the last five
windows and the newest one violate, outside a cooldown, and never by a backfill.
"""

from __future__ import annotations

from airflow.sdk import DAG

from include.spec.use_case import UseCase
from lifecycle import assets, params
from lifecycle.defaults import dag_defaults, use_cases
from lifecycle.operators.inputs import AwaitInputsOperator
from lifecycle.operators.monitor import MonitorOperator, RequestTrainingOperator
from lifecycle.operators.publishing import AuditOperator, PublishOperator
from lifecycle.timetables import by_partition_of


def monitor(use_case: UseCase) -> None:
    with DAG(
        **dag_defaults(use_case, "monitor", __doc__),
        schedule=by_partition_of(assets.predictions(use_case), use_case),
        params={"partition": params.partition(use_case)},
    ):
        name = use_case.name
        inputs = AwaitInputsOperator(task_id="await_inputs", use_case=name, step="monitor")
        judge = MonitorOperator(task_id="judge", use_case=name, span=inputs.output)
        audit = AuditOperator(task_id="audit", use_case=name, stages=judge.output)
        publish = PublishOperator(task_id="publish", use_case=name, stages=audit.output)
        RequestTrainingOperator(
            task_id="request_training",
            use_case=name,
            published=publish.output,
            training_dag=f"{name}_train",
        )


for use_case in use_cases():
    monitor(use_case)
