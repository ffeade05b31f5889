"""Wait for input partitions: a task starts its work when everything that it reads is published."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from lifecycle.operators.base import LifecycleOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.core.partitions import Span


class AwaitInputsOperator(LifecycleOperator):
    """Wait, deferred, until every partition that ``step`` reads is published; return the span to work on.

    The wait goes on while a DAG that produces a missing partition has DAG runs to do. It fails naming the
    partitions that no DAG is producing.

    :param step: ``features``, ``score`` or ``monitor``.
    """

    def __init__(self, *, step: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.step = step

    def execute(self, context: Context) -> dict[str, Any]:
        from include.steps import inputs
        from lifecycle.context import span_of

        workspace = self.workspace()
        span = span_of(context, workspace, inputs.LAYER_BEFORE[self.step])
        if inputs.missing(workspace, self.step, span):
            self._wait(span)
        return self.give(span)

    def _wait(self, span: Span) -> None:
        from lifecycle.triggers import InputsTrigger

        self.defer(
            trigger=InputsTrigger(use_case=self.use_case, step=self.step, span=span.model_dump()),
            method_name="proceed",
            timeout=self.execution_timeout or timedelta(hours=12),
        )

    def proceed(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Go on with the event of the trigger.

        Raises:
            MissingPartitions: no DAG is producing a partition that the step needs.
        """
        from include.core.errors import MissingPartitions
        from include.core.partitions import Span

        if event["fault"]:
            raise MissingPartitions(event["fault"])
        return self.give(self.take(Span, event["span"]))
