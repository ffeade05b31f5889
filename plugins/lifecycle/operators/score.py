"""Score: the champion of each partition's clock predicts that partition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lifecycle.operators.base import SpanOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class ScoreOperator(SpanOperator):
    """Stage the predictions of a span of partitions.

    :param model: ``as_of_clock`` (the champion of each partition's clock), ``current``, or a version number.
    """

    template_fields: Sequence[str] = ("span", "model")

    def __init__(self, *, model: str = "{{ params.model }}", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model

    def execute(self, context: Context) -> dict[str, Any]:
        from include.core.partitions import Span
        from include.steps.score import predicting

        workspace, span = self.workspace(), self.take(Span, self.span)
        # rendered natively: a version number of the form arrives as an integer
        return self.give(predicting.stage(workspace, span, str(self.model), self.attempt_of(context, workspace)))
