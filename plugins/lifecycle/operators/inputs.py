"""Waiting for input partitions: a run starts its work when all it reads is published."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from lifecycle.operators.base import LifecycleOperator


class AwaitInputsOperator(LifecycleOperator):
    """Wait, deferred, until every partition that ``stage`` reads is published; returns the partitions to work on.

    It goes on waiting while a DAG that produces a missing partition has runs to do, and fails naming
    the partitions that nobody is producing.

    :param stage: ``features``, ``score`` or ``monitor``.
    """

    def __init__(self, *, stage: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stage = stage

    def execute(self, context: Any) -> dict[str, str]:
        from include.steps import inputs
        from lifecycle.context import partition_of

        workspace = self.workspace()
        keys = partition_of(context, workspace, inputs.LAYER_BEFORE[self.stage])
        if inputs.missing(workspace, self.stage, keys):
            self._wait(keys)
        return {"first": keys[0], "last": keys[-1]}

    def _wait(self, keys: Sequence[str]) -> None:
        from lifecycle.triggers import InputsTrigger

        self.defer(
            trigger=InputsTrigger(use_case=self.use_case, stage=self.stage, keys=list(keys)),
            method_name="proceed",
            timeout=self.execution_timeout or timedelta(hours=12),
        )

    def proceed(self, context: Any, event: dict[str, Any]) -> dict[str, str]:
        """Go on with what the trigger saw."""
        from include.core.errors import MissingPartitions

        if event["fault"]:
            raise MissingPartitions(event["fault"])
        return {"first": event["keys"][0], "last": event["keys"][-1]}
