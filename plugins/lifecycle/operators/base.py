"""What the lifecycle's operators share: they know their use case, and open its workspace at run time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

if TYPE_CHECKING:
    from include.lake.records import Attempt
    from include.steps.workspace import Workspace


class LifecycleOperator(BaseOperator):
    """An operator of one use case.

    :param use_case: name of the use case; its spec is read when the task runs.
    """

    ui_color = "#eef3f8"

    def __init__(self, *, use_case: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.use_case = use_case

    def pre_execute(self, context: Any) -> None:
        """Refuse a run whose ``conf`` names what its form does not have: Airflow lets it pass, and ignores it."""
        from include.core.errors import ConfError
        from include.core.words import nearest

        known = list(self.dag.params) if self.dag is not None else []
        unknown = [
            f'"{name}" unknown{nearest(name, known)}' for name in context["dag_run"].conf or {} if name not in known
        ]
        if unknown:
            raise ConfError(f"conf: {'; '.join(unknown)}. {self.dag_id} knows {', '.join(known)}; trigger it again")

    def workspace(self) -> Workspace:
        from include.steps.workspace import Workspace

        return Workspace.open(self.use_case)

    def attempt_of(self, context: Any, workspace: Workspace) -> Attempt:
        from lifecycle.context import attempt_of

        return attempt_of(context, workspace)


class SpanOperator(LifecycleOperator):
    """An operator that works on a range of partitions.

    :param span: ``first`` and ``last`` partition, as the task before returned them.
    """

    template_fields: Sequence[str] = ("span",)

    def __init__(self, *, span: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.span = span
