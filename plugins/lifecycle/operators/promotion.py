"""Promotion: judge a challenger or a rollback, ask a person where the spec says so, change the champion."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk.bases.skipmixin import SkipMixin

from include.spec.use_case import UseCase
from lifecycle.operators.base import LifecycleOperator


def approval(use_case: UseCase) -> list[ApprovalOperator]:
    """The task that asks a person, with the evidence in view; none where the spec leaves it to the gates.

    No answer in time is a no. Airflow lets nobody answer who may not also trigger the DAG.
    """
    if use_case.promotion == "auto":
        return []
    question = ApprovalOperator(
        task_id="approve",
        subject=f"{use_case.title}: change the champion?",
        body="{{ ti.xcom_pull(task_ids='judge')['body'] }}",
        defaults=ApprovalOperator.REJECT,
        response_timeout=timedelta(hours=use_case.gates.approval_hours),
    )
    return [question]


def runs_at_once(use_case: UseCase) -> int:
    """One where the gates decide: a challenger meets the champion that the decision before it made.

    A question that waits for a person holds nothing up, least of all a rollback; compare-and-swap keeps order.
    """
    return 1 if use_case.promotion == "auto" else 16


class JudgeOperator(LifecycleOperator, SkipMixin):
    """Propose a new champion, with the evidence; without a reason to change it, what follows is skipped.

    The challenger is the one the asset event names, else the form's ``version``, else the newest registered.
    The form's ``rollback_to`` proposes to return to an earlier champion instead.
    """

    def execute(self, context: Any) -> dict[str, Any]:
        from include.steps.promote import promotion
        from lifecycle.context import challenger_version

        workspace, params = self.workspace(), context["params"]
        if params.get("rollback_to"):
            proposal = promotion.judge_rollback(workspace, params["rollback_to"], params.get("rollback_from"))
        else:
            version = challenger_version(context) or params.get("version")
            proposal = promotion.judge(workspace, version, self.attempt_of(context, workspace))
        if not proposal.change:
            self.log.info("The champion stays: %s", proposal.reason)
            # skipping ends the task on the spot, and its evidence would be lost with what it returns
            context["ti"].xcom_push(key="return_value", value=proposal.model_dump())
            self.skip(ti=context["ti"], tasks=self.get_direct_relatives(upstream=False))
        return proposal.model_dump()


class PromoteOperator(LifecycleOperator):
    """Make the proposed version champion by compare-and-swap, with a ledger row that says who decided.

    :param proposal: what ``JudgeOperator`` returned.
    :param approval: what the task ``approve`` returned, where the spec asks a person.
    """

    template_fields: Sequence[str] = ("proposal", "approval")

    def __init__(
        self, *, proposal: Any, approval: Any = "{{ ti.xcom_pull(task_ids='approve') }}", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.proposal = proposal
        self.approval = approval

    def execute(self, context: Any) -> dict[str, Any]:
        from include.steps.promote import promotion

        workspace = self.workspace()
        proposal = promotion.Proposal.model_validate(self.proposal)
        decided_by = self._approved_by() if workspace.case.promotion == "approve" else _asked_by(context, proposal.kind)
        return promotion.promote(workspace, proposal, decided_by, self.attempt_of(context, workspace))

    def _approved_by(self) -> str:
        from include.core.errors import ConfError

        answer = self.approval or {}
        person = answer.get("responded_by_user")
        # a task that was merely marked as success has no answer
        if list(answer.get("chosen_options") or ()) != ["Approve"] or not person:
            raise ConfError(f"{self.use_case}: nobody approved this promotion; clear the task that asks, and answer it")
        return str(person.get("name") or person["id"])


def _asked_by(context: Any, kind: str) -> str:
    """Who decided where no approval is asked for: the gates, or whoever triggered a rollback."""
    if kind == "promotion":
        return "auto"
    return context["dag_run"].triggering_user_name or "unknown"
