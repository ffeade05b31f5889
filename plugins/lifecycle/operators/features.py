"""Features: compute snapshots, and bring the newest values online."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lifecycle.operators.base import LifecycleOperator, SpanOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class ComputeFeaturesOperator(SpanOperator):
    """Stage every feature view's snapshots for a span of partitions, in one pass."""

    def execute(self, context: Context) -> dict[str, Any]:
        from include.core.partitions import Span
        from include.steps import features

        workspace, span = self.workspace(), self.take(Span, self.span)
        return self.give(features.stage(workspace, span, self.attempt_of(context, workspace)))


class MaterializeOperator(LifecycleOperator):
    """Apply the Feast definitions if they changed, then bring the published snapshots online.

    An online value is replaced by a newer one only, so a backfill of old partitions leaves it alone.

    :param published: what ``PublishOperator`` returned.
    """

    template_fields: Sequence[str] = ("published",)

    def __init__(self, *, published: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.published = published

    def execute(self, context: Context) -> dict[str, Any]:
        from include.steps import features
        from include.steps.handover import Published
        from lifecycle.context import announce

        span = self.take(Published, self.published).span
        materialized = features.materialize(self.workspace(), span)
        announce(context, self.outlets, span.last)
        return self.give(materialized)
