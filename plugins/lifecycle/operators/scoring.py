"""Scoring: the champion of each day predicts that day."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lifecycle.operators.base import LifecycleOperator


class ScoreOperator(LifecycleOperator):
    """Stage the predictions of a range of partitions.

    :param span: ``first`` and ``last`` partition.
    :param model: ``as_of_clock`` (the champion of each partition's clock), ``current``, or a version number.
    """

    template_fields: Sequence[str] = ("span", "model")

    def __init__(self, *, span: Any, model: str = "{{ params.model }}", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.span = span
        self.model = model

    def execute(self, context: Any) -> dict[str, str]:
        from include.steps.score import scoring

        workspace = self.workspace()
        attempt = self.attempt_of(context, workspace)
        return scoring.stage(workspace, self.span["first"], self.span["last"], self.model, attempt)
