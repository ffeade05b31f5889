"""The trigger behind ``AwaitInputsOperator``; runs in the triggerer, holds no worker slot."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

if TYPE_CHECKING:
    from include.steps import inputs
    from include.steps.workspace import Workspace

GRACE_SECONDS_IF_OPTIONAL = 5.0
POLL_SECONDS = 1.0
POLL_SECONDS_AT_MOST = 5.0


class InputsTrigger(BaseTrigger):
    """Fires when the inputs of a stage are published, or when nobody is producing those that are missing.

    A run that an asset event will wake does not exist until the scheduler has seen the event: producers must
    have been idle for ``grace_seconds`` (by default the deployment's setting) before a missing partition counts
    as produced by nobody.
    """

    def __init__(self, use_case: str, stage: str, keys: list[str], grace_seconds: float | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.use_case = use_case
        self.stage = stage
        self.keys = keys
        self.grace_seconds = grace_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        values = {
            "use_case": self.use_case,
            "stage": self.stage,
            "keys": self.keys,
            "grace_seconds": self.grace_seconds,
        }
        return "lifecycle.triggers.InputsTrigger", values

    async def run(self) -> AsyncIterator[TriggerEvent]:
        from include.steps import inputs
        from include.steps.workspace import Workspace

        workspace = await asyncio.to_thread(Workspace.open, self.use_case)
        patience = workspace.settings.inputs_grace_seconds if self.grace_seconds is None else self.grace_seconds
        began = time.monotonic()
        idle_since: float | None = None
        missing: inputs.Wanted = {}
        while True:
            # producers first: one that ends between the two looks has published by the second
            producing = await self._runs_to_do(inputs.producers(workspace, self.stage))
            missing = await asyncio.to_thread(self._missing, workspace, missing)
            if not missing:
                yield self._event()
                return
            if producing:
                idle_since = None
            else:
                idle_since = idle_since or time.monotonic()
                fault = inputs.fault(workspace, self.stage, self.keys, missing)
                grace = patience if fault else min(patience, GRACE_SECONDS_IF_OPTIONAL)
                if time.monotonic() - idle_since >= grace:
                    yield self._event(fault)
                    return
            await asyncio.sleep(_pause(time.monotonic() - began, idle_since is not None))

    def _missing(self, workspace: Workspace, before: inputs.Wanted) -> inputs.Wanted:
        """What is missing: of what was missing ``before``, and when all of that has come, of everything."""
        from include.steps import inputs

        if before and (still := inputs.missing(workspace, self.stage, self.keys, before)):
            return still
        return inputs.missing(workspace, self.stage, self.keys)

    async def _runs_to_do(self, dag_ids: list[str]) -> int:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        count = sync_to_async(RuntimeTaskInstance.get_dr_count)
        return sum([await count(dag_id=dag_id, states=["queued", "running"]) for dag_id in dag_ids])

    def _event(self, fault: str | None = None) -> TriggerEvent:
        return TriggerEvent({"keys": self.keys, "fault": fault})  # type: ignore[no-untyped-call]


def _pause(waited: float, idle: bool) -> float:
    """Seconds until the next look: a long wait may last a twentieth longer, for a fraction of the looks."""
    return POLL_SECONDS if idle else min(max(POLL_SECONDS, waited / 20), POLL_SECONDS_AT_MOST)
