"""Predict a partition with the champion of its clock, audit the predictions, publish them.

The champion of `D` is the latest promoted version whose training data ended before `clock(D)`, so a
backfill scores each day with the model of that day. The form can ask for `current` (the newest champion) or
for a version instead. Every row names the model version and the features that it was made from.
"""

from __future__ import annotations

from airflow.sdk import DAG

from include.spec.use_case import UseCase
from lifecycle import assets, params
from lifecycle.defaults import dag_defaults, use_cases
from lifecycle.operators.inputs import AwaitInputsOperator
from lifecycle.operators.publishing import AuditOperator, PublishOperator
from lifecycle.operators.score import ScoreOperator
from lifecycle.timetables import by_partition_of


def score(use_case: UseCase) -> None:
    with DAG(
        **dag_defaults(use_case, "score", __doc__),
        schedule=by_partition_of(assets.features(use_case), use_case),
        params={"partition": params.partition(use_case), "model": params.model()},
    ):
        name = use_case.name
        inputs = AwaitInputsOperator(task_id="await_inputs", use_case=name, step="score")
        scores = ScoreOperator(task_id="score", use_case=name, span=inputs.output)
        audit = AuditOperator(task_id="audit", use_case=name, stages=scores.output)
        PublishOperator(task_id="publish", use_case=name, stages=audit.output, outlets=[assets.predictions(use_case)])


for use_case in use_cases():
    score(use_case)
