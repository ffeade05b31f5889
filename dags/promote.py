"""Make a challenger the champion if the evidence says so, or return to an earlier champion.

Challenger and champion are judged on the same test days, and whole days are resampled. A promotion is proposed
when no guardrail is broken and the 95 % interval of the difference excludes zero in the challenger's favour, or
when there is no champion yet. Where the spec says `promotion: approve`, a person answers with the evidence in
view, and no answer in time is a no. The champion changes by compare-and-swap: of two promotions at once one
fails and changes nothing. The ledger keeps every change, with its evidence and who decided.
"""

from __future__ import annotations

from airflow.sdk import DAG, chain

from include.spec.use_case import UseCase
from lifecycle import assets, params
from lifecycle.defaults import dag_defaults, use_cases
from lifecycle.operators.promote import JudgeOperator, PromoteOperator, approval, runs_at_once


def promote(use_case: UseCase) -> None:
    with DAG(
        **dag_defaults(use_case, "promote", __doc__),
        schedule=[assets.challenger(use_case)],
        params={"version": params.version(), **params.rollback(use_case)},
        max_active_runs=runs_at_once(use_case),
    ):
        judge = JudgeOperator(task_id="judge", use_case=use_case.name)
        promote = PromoteOperator(task_id="promote", use_case=use_case.name, proposal=judge.output)
        chain(judge, *approval(use_case), promote)


for use_case in use_cases():
    promote(use_case)
