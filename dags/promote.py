"""Make a challenger the champion if the evidence says so.

Both are judged on the same test days, and whole days are resampled: the challenger is promoted when the
95 % interval of the difference excludes zero in its favour, or when there is no champion yet. The champion
changes by compare-and-swap, and the ledger keeps every promotion with its evidence.
"""

from __future__ import annotations

from airflow.sdk import DAG

from include.use_cases.spec import UseCase, load_use_cases
from lifecycle import assets, params
from lifecycle.defaults import dag_defaults
from lifecycle.operators.training import PromoteOperator


def promote(use_case: UseCase) -> None:
    with DAG(
        **dag_defaults(use_case, "promote", __doc__),
        schedule=[assets.challenger(use_case)],
        params={"version": params.version()},
        max_active_runs=1,  # a challenger meets the champion that the decision before it made
    ):
        PromoteOperator(task_id="decide", use_case=use_case.name)


for use_case in load_use_cases():
    promote(use_case)
