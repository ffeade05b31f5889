"""Keep the lake small and whole: compact small files, vacuum files that no reader can need, verify the rest.

A table version that a model or a training set was recorded with is never deleted, however old it is. The first
scheduled DAG run of a month compares every partition with its publish record.
"""

from __future__ import annotations

from airflow.sdk import DAG

from include.spec.use_case import UseCase
from lifecycle import params
from lifecycle.defaults import dag_defaults, use_cases
from lifecycle.operators.maintenance import CompactOperator, VacuumOperator, VerifyOperator
from lifecycle.timetables import weekly


def maintenance(use_case: UseCase) -> None:
    with DAG(
        **dag_defaults(use_case, "maintenance", __doc__),
        schedule=weekly(use_case),
        params={"retention_hours": params.retention_hours(), "dry_run": params.dry_run(), "verify": params.verify()},
        max_active_runs=1,
    ):
        compact = CompactOperator(task_id="compact", use_case=use_case.name)
        vacuum = VacuumOperator(task_id="vacuum", use_case=use_case.name)
        verify = VerifyOperator(task_id="verify", use_case=use_case.name)
        compact >> vacuum >> verify


for use_case in use_cases():
    maintenance(use_case)
