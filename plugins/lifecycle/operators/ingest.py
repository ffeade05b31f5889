"""Ingest: land what the source delivers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lifecycle.operators.base import LifecycleOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class LandOperator(LifecycleOperator):
    """Stage what the source delivers: the DAG run's partition, or a span with the look-back of its features.

    :param span: ``first`` and ``last`` partition whose features will be computed; without it, the run's partition.
    """

    template_fields: Sequence[str] = ("span",)

    def __init__(self, *, span: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.span = span

    def execute(self, context: Context) -> dict[str, Any]:
        from include.core.partitions import Span
        from include.steps import ingest
        from lifecycle.context import span_of

        workspace = self.workspace()
        if self.span is None:
            span = span_of(context, workspace, "source")
        else:
            span = workspace.case.lookback(self.take(Span, self.span))
        return self.give(ingest.land(workspace, span, self.attempt_of(context, workspace)))
