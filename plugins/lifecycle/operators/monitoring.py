"""Monitoring: judge drift and past predictions, and ask for training when the rule says so."""

from __future__ import annotations

from typing import Any

from airflow.sdk.exceptions import AirflowSkipException

from lifecycle.operators.base import SpanOperator


class MonitorOperator(SpanOperator):
    """Stage the verdict rows of a range of partitions and keep the Evidently report of each window."""

    def execute(self, context: Any) -> dict[str, str]:
        from include import monitor

        workspace = self.workspace()
        run = self.run_of(context, workspace)
        return monitor.stage(workspace, self.span["first"], self.span["last"], run)


class RequestTrainingOperator(SpanOperator):
    """Wake the training DAG if the newest windows violate; skip otherwise, and always in a backfill."""

    def execute(self, context: Any) -> str:
        from include import monitor
        from lifecycle.context import ORIGIN, origin_of

        workspace, origin = self.workspace(), origin_of(context)
        run = self.run_of(context, workspace)
        requested, reason = monitor.training_requested(workspace, self.span["last"], origin, run)
        if not requested:
            raise AirflowSkipException(reason)
        for outlet in self.outlets:
            context["outlet_events"][outlet].extra = {
                "as_of": self.span["last"],
                "reason": reason,
                ORIGIN: origin,
            }
        return reason
