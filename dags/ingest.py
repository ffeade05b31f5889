"""Land what became known on the day before the partition, audit it, publish it as raw tables.

A DAG run for partition `D` acts at `clock(D)`, the local midnight at which `D` begins. It lands the outcomes
that became known in `[clock(D-1), clock(D))`, the schedule of `D`, and the observations made by then.

- **land** stages the source's rows as Parquet that no reader sees, and puts unusable rows into quarantine.
- **audit** runs the Great Expectations suites over the stage. A critical failure ends the DAG run: nothing
  is published, the stage is kept, and the error names the data docs.
- **publish** makes each table's partition visible in one Delta commit. Content that is published already is
  not published again.
"""

from __future__ import annotations

from airflow.sdk import DAG

from include.spec.use_case import UseCase
from lifecycle import assets, params
from lifecycle.defaults import dag_defaults, use_cases
from lifecycle.operators.ingest import LandOperator
from lifecycle.operators.publishing import AuditOperator, PublishOperator
from lifecycle.timetables import by_clock


def ingest(use_case: UseCase) -> None:
    with DAG(
        **dag_defaults(use_case, "ingest", __doc__),
        schedule=by_clock(use_case),
        params={"partition": params.partition(use_case)},
    ):
        name = use_case.name
        land = LandOperator(task_id="land", use_case=name)
        audit = AuditOperator(task_id="audit", use_case=name, stages=land.output)
        PublishOperator(task_id="publish", use_case=name, stages=audit.output, outlets=[assets.raw(use_case)])


for use_case in use_cases():
    ingest(use_case)
