"""Bootstrap: choose the span that one DAG run loads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lifecycle.operators.base import LifecycleOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class ChooseSpanOperator(LifecycleOperator):
    """Return the span of the form's ``from`` and ``to``; a field that was left empty gets its default."""

    def execute(self, context: Context) -> dict[str, Any]:
        from lifecycle.context import bootstrap_span_of

        return self.give(bootstrap_span_of(context, self.workspace()))
