"""Load a whole span in one DAG run: land, audit, publish and featurize all its partitions, set-oriented.

Raw partitions are landed for the look-back of the first day too. Each partition gets the content that its own DAG
run would have published, so running this over partitions that are published already changes nothing. It does not
wake the DAGs that follow each partition: train and promote come first.
"""

from __future__ import annotations

from airflow.sdk import DAG

from include.spec.use_case import UseCase
from lifecycle import params
from lifecycle.defaults import dag_defaults, use_cases
from lifecycle.operators.bootstrap import ChooseSpanOperator
from lifecycle.operators.features import ComputeFeaturesOperator, MaterializeOperator
from lifecycle.operators.ingest import LandOperator
from lifecycle.operators.publishing import AuditOperator, PublishOperator


def bootstrap(use_case: UseCase) -> None:
    with DAG(
        **dag_defaults(use_case, "bootstrap", __doc__),
        schedule=None,
        params=params.bootstrap_span(use_case),
        max_active_runs=1,
    ):
        name = use_case.name
        span = ChooseSpanOperator(task_id="choose_span", use_case=name)
        land = LandOperator(task_id="land", use_case=name, span=span.output)
        audit_raw = AuditOperator(task_id="audit_raw", use_case=name, stages=land.output)
        publish_raw = PublishOperator(task_id="publish_raw", use_case=name, stages=audit_raw.output)
        compute = ComputeFeaturesOperator(task_id="compute_features", use_case=name, span=span.output)
        audit = AuditOperator(task_id="audit_features", use_case=name, stages=compute.output)
        publish = PublishOperator(task_id="publish_features", use_case=name, stages=audit.output)
        MaterializeOperator(task_id="materialize", use_case=name, published=publish.output)
        publish_raw >> compute


for use_case in use_cases():
    bootstrap(use_case)
