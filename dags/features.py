"""Compute the feature snapshots of a partition from published raw tables, audit, publish, materialize them.

The snapshot of `D` has `event_timestamp = clock(D)` and holds only what was known by then. Every input
partition in the look-back window must be published. The DAG run waits, deferred, for partitions that are being
produced, so that a parallel backfill computes what an ordered one would. It fails naming the partitions that no
DAG is producing. Online values never move backwards: an old partition does not overwrite a newer one.
"""

from __future__ import annotations

from airflow.sdk import DAG

from include.spec.use_case import UseCase
from lifecycle import assets, params
from lifecycle.defaults import dag_defaults, use_cases
from lifecycle.operators.features import ComputeFeaturesOperator, MaterializeOperator
from lifecycle.operators.inputs import AwaitInputsOperator
from lifecycle.operators.publishing import AuditOperator, PublishOperator
from lifecycle.timetables import by_partition_of


def features(use_case: UseCase) -> None:
    with DAG(
        **dag_defaults(use_case, "features", __doc__),
        schedule=by_partition_of(assets.raw(use_case), use_case),
        params={"partition": params.partition(use_case)},
    ):
        name = use_case.name
        inputs = AwaitInputsOperator(task_id="await_inputs", use_case=name, step="features")
        compute = ComputeFeaturesOperator(task_id="compute", use_case=name, span=inputs.output)
        audit = AuditOperator(task_id="audit", use_case=name, stages=compute.output)
        publish = PublishOperator(task_id="publish", use_case=name, stages=audit.output)
        MaterializeOperator(
            task_id="materialize", use_case=name, published=publish.output, outlets=[assets.features(use_case)]
        )


for use_case in use_cases():
    features(use_case)
