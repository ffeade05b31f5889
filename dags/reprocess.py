"""Compute again what is stale: features, then the model, then scores and verdicts.

`make plan CASE=<name>` shows what that is, why, and the name of the plan. A DAG run that is given the name refuses
every other plan, so that what is computed is what somebody has read; without a name it takes the plan of now. Each step
computes the span from its first to its last stale partition; rows that come out as they were are not published again.
Where the champion itself is stale, a training is triggered. Scores and verdicts that only the next champion can say
wait for its promotion: then trigger this DAG again.
"""

from __future__ import annotations

from airflow.sdk import DAG, TriggerRule

from include.spec.use_case import UseCase
from lifecycle import params
from lifecycle.defaults import dag_defaults, use_cases
from lifecycle.operators.features import ComputeFeaturesOperator, MaterializeOperator
from lifecycle.operators.monitor import MonitorOperator
from lifecycle.operators.publishing import AuditOperator, PublishOperator
from lifecycle.operators.reprocess import PlanOperator, TrainStaleOperator
from lifecycle.operators.score import ScoreOperator

# a step without stale partitions is skipped, and the steps after it go on
GO_ON = TriggerRule.NONE_FAILED


def reprocess(use_case: UseCase) -> None:
    with DAG(
        **dag_defaults(use_case, "reprocess", __doc__),
        schedule=None,
        params={"plan": params.plan()},
        max_active_runs=1,
    ):
        name = use_case.name
        plan = PlanOperator(task_id="plan", use_case=name)
        compute = ComputeFeaturesOperator(task_id="compute_features", use_case=name, span=plan.output["features"])
        audit_features = AuditOperator(task_id="audit_features", use_case=name, stages=compute.output)
        publish_features = PublishOperator(task_id="publish_features", use_case=name, stages=audit_features.output)
        materialize = MaterializeOperator(task_id="materialize", use_case=name, published=publish_features.output)
        train = TrainStaleOperator(
            task_id="train",
            use_case=name,
            as_of=plan.output["train_as_of"],
            training_dag=f"{name}_train",
            trigger_rule=GO_ON,
        )
        score = ScoreOperator(
            task_id="score", use_case=name, span=plan.output["scores"], model="as_of_clock", trigger_rule=GO_ON
        )
        audit_scores = AuditOperator(task_id="audit_scores", use_case=name, stages=score.output)
        publish_scores = PublishOperator(task_id="publish_scores", use_case=name, stages=audit_scores.output)
        judge = MonitorOperator(task_id="judge", use_case=name, span=plan.output["verdicts"], trigger_rule=GO_ON)
        audit_verdicts = AuditOperator(task_id="audit_verdicts", use_case=name, stages=judge.output)
        PublishOperator(task_id="publish_verdicts", use_case=name, stages=audit_verdicts.output)
        materialize >> [train, score]
        publish_scores >> judge


for use_case in use_cases():
    reprocess(use_case)
