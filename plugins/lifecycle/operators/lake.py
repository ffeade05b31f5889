"""Write, audit, publish: the three tasks that put partitions into the lake."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lifecycle.operators.base import LifecycleOperator

Stages = dict[str, str]
"""Table name to the folder of its stage."""

Span = dict[str, str]
"""``first`` and ``last`` partition of a range."""


class ChooseRangeOperator(LifecycleOperator):
    """The partitions of the form's ``from`` and ``to``, as ``first`` and ``last``; fills in what was left empty."""

    def execute(self, context: Any) -> Span:
        from lifecycle.context import range_of

        keys = range_of(context, self.workspace())
        return {"first": keys[0], "last": keys[-1]}


class LandOperator(LifecycleOperator):
    """Stage what the source delivers: the run's partition, or a range with the look-back of its features.

    :param span: ``first`` and ``last`` partition whose features will be computed; without it, the run's partition.
    """

    template_fields: Sequence[str] = ("span",)

    def __init__(self, *, span: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.span = span

    def execute(self, context: Any) -> Stages:
        from include.steps import ingest
        from lifecycle.context import partition_of

        workspace = self.workspace()
        if self.span is None:
            keys = partition_of(context, workspace, "source")
        else:
            keys = workspace.case.lookback(self.span["first"], self.span["last"])
        return ingest.land(workspace, keys, self.attempt_of(context, workspace))


class AuditOperator(LifecycleOperator):
    """Run each stage's Great Expectations suite; a critical failure stops the run here.

    :param stages: the stages to audit, as the task that wrote them returned them.
    """

    template_fields: Sequence[str] = ("stages",)

    def __init__(self, *, stages: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stages = stages

    def execute(self, context: Any) -> Stages:
        from include.steps import publishing

        workspace = self.workspace()
        stages: Stages = self.stages
        publishing.audit(workspace, stages, self.attempt_of(context, workspace))
        return stages


class PublishOperator(LifecycleOperator):
    """Publish audited stages, one commit a table, and tell the DAGs that follow which partition is there.

    :param stages: the stages to publish, as the audit returned them.
    """

    template_fields: Sequence[str] = ("stages",)

    def __init__(self, *, stages: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stages = stages

    def execute(self, context: Any) -> dict[str, Any]:
        from include.steps import publishing
        from lifecycle.context import announce

        workspace = self.workspace()
        done = publishing.publish(workspace, self.stages, self.attempt_of(context, workspace))
        announce(context, self.outlets, done["first"])
        return done
