"""Audit and publish: the two tasks by which every step puts its stages into the lake."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lifecycle.operators.base import LifecycleOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class AuditOperator(LifecycleOperator):
    """Run each stage's Great Expectations suite; a critical failure ends the DAG run here.

    :param stages: the stages to audit, as the task that wrote them returned them.
    """

    template_fields: Sequence[str] = ("stages",)

    def __init__(self, *, stages: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stages = stages

    def execute(self, context: Context) -> dict[str, Any]:
        from include.steps import publishing
        from include.steps.handover import Stages

        workspace, stages = self.workspace(), self.take(Stages, self.stages)
        publishing.audit(workspace, stages, self.attempt_of(context, workspace))
        return self.give(stages)


class PublishOperator(LifecycleOperator):
    """Publish audited stages, one commit a table, and announce the partition to the DAGs that follow.

    :param stages: the stages to publish, as the audit returned them.
    """

    template_fields: Sequence[str] = ("stages",)

    def __init__(self, *, stages: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stages = stages

    def execute(self, context: Context) -> dict[str, Any]:
        from include.steps import publishing
        from include.steps.handover import Stages
        from lifecycle.context import announce

        workspace, stages = self.workspace(), self.take(Stages, self.stages)
        published = publishing.publish(workspace, stages, self.attempt_of(context, workspace))
        announce(context, self.outlets, published.span.first)
        return self.give(published)
