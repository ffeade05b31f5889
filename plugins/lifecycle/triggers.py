"""The trigger of ``AwaitInputsOperator``; it runs in the triggerer and holds no worker slot."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from lifecycle import airflow_private

if TYPE_CHECKING:
    from include.core.partitions import Span
    from include.steps import inputs
    from include.steps.workspace import Workspace

GRACE_SECONDS_IF_OPTIONAL = 5.0
POLL_SECONDS = 1.0
POLL_SECONDS_AT_MOST = 5.0


class InputsTrigger(BaseTrigger):
    """A trigger that fires when the inputs of a step are published, or when no DAG is producing a missing one.

    A DAG run that an asset event will wake does not exist until the scheduler has seen the event. Therefore a
    missing partition counts as produced by no DAG only when the producers have been idle for ``grace_seconds``, by
    default the deployment's setting. ``span`` is a ``Span`` as JSON.
    """

    def __init__(self, use_case: str, step: str, span: dict[str, str], grace_seconds: float | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.use_case = use_case
        self.step = step
        self.span = span
        self.grace_seconds = grace_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments from which the triggerer makes the trigger again."""
        values = {
            "use_case": self.use_case,
            "step": self.step,
            "span": self.span,
            "grace_seconds": self.grace_seconds,
        }
        return "lifecycle.triggers.InputsTrigger", values

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until the inputs are published; yield one event with the span and, if nobody produces it, the fault."""
        from include.core.partitions import Span
        from include.steps import inputs
        from include.steps.workspace import Workspace

        workspace = await asyncio.to_thread(Workspace.open, self.use_case)
        patience = workspace.settings.inputs_grace_seconds if self.grace_seconds is None else self.grace_seconds
        span, began = Span.model_validate(self.span), time.monotonic()
        idle_since: float | None = None
        missing: inputs.Wanted = {}
        while True:
            # Check producers before the lake: a producer that finishes between the two checks has already published
            # when we read the lake.
            producing = await self._runs_to_do(inputs.producers(workspace, self.step))
            missing = await asyncio.to_thread(self._missing, workspace, span, missing)
            if not missing:
                yield self._event()
                return
            if producing:
                idle_since = None
            else:
                idle_since = idle_since or time.monotonic()
                fault = inputs.fault(workspace, self.step, span, missing)
                grace = patience if fault else min(patience, GRACE_SECONDS_IF_OPTIONAL)
                if time.monotonic() - idle_since >= grace:
                    yield self._event(fault)
                    return
            await asyncio.sleep(_pause(time.monotonic() - began, idle_since is not None))

    def _missing(self, workspace: Workspace, span: Span, before: inputs.Wanted) -> inputs.Wanted:
        """Return the missing partitions: among those missing ``before``, and once all of them came, among all."""
        from include.steps import inputs

        if before and (still := inputs.missing(workspace, self.step, span, before)):
            return still
        return inputs.missing(workspace, self.step, span)

    async def _runs_to_do(self, dag_ids: list[str]) -> int:
        count = sync_to_async(airflow_private.count_dag_runs)
        return sum([await count(dag_id, ["queued", "running"]) for dag_id in dag_ids])

    def _event(self, fault: str | None = None) -> TriggerEvent:
        return TriggerEvent({"span": self.span, "fault": fault})  # type: ignore[no-untyped-call]


def _pause(waited: float, idle: bool) -> float:
    """Back off: return ``waited / 20`` seconds until the next poll, at most 5; 1 while the producers are idle."""
    return POLL_SECONDS if idle else min(max(POLL_SECONDS, waited / 20), POLL_SECONDS_AT_MOST)
