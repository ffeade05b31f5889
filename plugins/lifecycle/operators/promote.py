"""Promote: judge a challenger or a rollback, ask a person where the spec says so, change the champion."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk.bases.skipmixin import SkipMixin

from include.spec.use_case import UseCase
from lifecycle.operators.base import LifecycleOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


def approval(use_case: UseCase) -> list[ApprovalOperator]:
    """Return the task that asks a person, with the evidence in view; no task where the gates decide.

    No answer in time is a no. Airflow accepts an answer only from people who may also trigger the DAG.
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
    """Return one where the gates decide, so that a challenger meets the champion of the decision before.

    A question that waits for a person must not hold up other DAG runs, least of all a rollback. Compare-and-swap
    keeps their changes in order.
    """
    return 1 if use_case.promotion == "auto" else 16


class JudgeOperator(LifecycleOperator, SkipMixin):
    """Propose a new champion, with the evidence; without a reason to change it, skip the tasks that follow.

    The challenger is the one that the asset event names, else the form's ``version``, else the newest registered.
    The form's ``rollback_to`` proposes to return to an earlier champion instead.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        from include.steps.promote import deciding
        from lifecycle.context import challenger_version

        workspace, params = self.workspace(), context["params"]
        if params.get("rollback_to"):
            proposal = deciding.propose_rollback(workspace, params["rollback_to"], params.get("rollback_from"))
        else:
            version = challenger_version(context) or params.get("version")
            proposal = deciding.propose(workspace, version, self.attempt_of(context, workspace))
        given = self.give(proposal)
        if not proposal.change:
            self.log.info("The champion stays: %s", proposal.reason)
            # skipping ends the task on the spot, and a value that is returned afterwards is lost
            context["ti"].xcom_push(key="return_value", value=given)
            self.skip(ti=context["ti"], tasks=self.get_direct_relatives(upstream=False))
        return given


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

    def execute(self, context: Context) -> dict[str, Any]:
        from include.steps.handover import Proposal
        from include.steps.promote import deciding

        workspace, proposal = self.workspace(), self.take(Proposal, self.proposal)
        decided_by = self._approved_by() if workspace.case.promotion == "approve" else _asked_by(context, proposal.kind)
        return self.give(deciding.promote(workspace, proposal, decided_by, self.attempt_of(context, workspace)))

    def _approved_by(self) -> str:
        from include.core.errors import ConfError

        answer = self.approval or {}
        person = answer.get("responded_by_user")
        # a task that was merely marked as success has no answer
        if list(answer.get("chosen_options") or ()) != ["Approve"] or not person:
            raise ConfError(f"{self.use_case}: nobody approved this promotion; clear the task that asks, and answer it")
        return str(person.get("name") or person["id"])


def _asked_by(context: Context, kind: str) -> str:
    """Return who decided where no approval is asked for: the gates, or the person who triggered a rollback."""
    if kind == "promotion":
        return "auto"
    return context["dag_run"].triggering_user_name or "unknown"
