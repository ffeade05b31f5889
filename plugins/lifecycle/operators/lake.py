"""Write, audit, publish: the three tasks that put partitions into the lake."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lifecycle.operators.base import LifecycleOperator

Stages = dict[str, str]
"""Table name to the folder of its stage."""


class LandOperator(LifecycleOperator):
    """Stage what the source delivers: one partition, or every partition of the form's range.

    :param whole_range: take the partitions from the form's ``from`` and ``to``.
    """

    def __init__(self, *, whole_range: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.whole_range = whole_range

    def execute(self, context: Any) -> Stages:
        from include import ingest
        from lifecycle.context import partition_of, range_of

        workspace = self.workspace()
        keys = (
            range_of(context, workspace) if self.whole_range else partition_of(context, workspace, "source")
        )
        return ingest.land(workspace, keys, self.run_of(context, workspace))


class AuditOperator(LifecycleOperator):
    """Run each stage's Great Expectations suite; a critical failure stops the run here.

    :param stages: the stages to audit, as the task that wrote them returned them.
    """

    template_fields: Sequence[str] = ("stages",)

    def __init__(self, *, stages: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stages = stages

    def execute(self, context: Any) -> Stages:
        from include import publishing

        workspace = self.workspace()
        publishing.audit(workspace, self.stages, self.run_of(context, workspace))
        return self.stages


class PublishOperator(LifecycleOperator):
    """Publish audited stages, one commit a table, and tell the DAGs that follow which partition is there.

    :param stages: the stages to publish, as the audit returned them.
    """

    template_fields: Sequence[str] = ("stages",)

    def __init__(self, *, stages: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stages = stages

    def execute(self, context: Any) -> dict[str, Any]:
        from include import publishing
        from lifecycle.context import announce

        workspace = self.workspace()
        done = publishing.publish(workspace, self.stages, self.run_of(context, workspace))
        announce(context, self.outlets, done["first"])
        return done
