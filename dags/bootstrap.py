"""Load a whole range in one run: land, audit, publish and featurize every partition of it, set-oriented.

Raw partitions are landed for the look-back of the first day too. Each partition ends up as its own run would
have published it, so running this over partitions that are there changes nothing. The DAGs that follow each
partition are not woken: train and promote come first.
"""

from __future__ import annotations

from airflow.sdk import DAG

from include.spec.use_case import UseCase
from lifecycle import params
from lifecycle.defaults import dag_defaults, use_cases
from lifecycle.operators.features import ComputeFeaturesOperator, MaterializeOperator
from lifecycle.operators.lake import AuditOperator, ChooseRangeOperator, LandOperator, PublishOperator


def bootstrap(use_case: UseCase) -> None:
    with DAG(
        **dag_defaults(use_case, "bootstrap", __doc__),
        schedule=None,
        params=params.bootstrap_range(use_case),
        max_active_runs=1,
    ):
        name = use_case.name
        span = ChooseRangeOperator(task_id="choose_range", use_case=name)
        land = LandOperator(task_id="land", use_case=name, span=span.output)
        audit_raw = AuditOperator(task_id="audit_raw", use_case=name, stages=land.output)
        publish_raw = PublishOperator(task_id="publish_raw", use_case=name, stages=audit_raw.output)
        compute = ComputeFeaturesOperator(task_id="compute_features", use_case=name, span=span.output)
        audit = AuditOperator(task_id="audit_features", use_case=name, stages=compute.output)
        publish = PublishOperator(task_id="publish_features", use_case=name, stages=audit.output)
        MaterializeOperator(task_id="materialize", use_case=name, span=publish.output)
        publish_raw >> compute


for use_case in use_cases():
    bootstrap(use_case)
