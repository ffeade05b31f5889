"""The base classes of the lifecycle's operators: they know their use case, and open its workspace at run time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException
from pydantic import BaseModel, ValidationError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.steps.workspace import Attempt, Workspace

Value = TypeVar("Value", bound=BaseModel)


class LifecycleOperator(BaseOperator):
    """An operator of one use case.

    :param use_case: name of the use case; its spec is read when the task runs.
    """

    ui_color = "#eef3f8"

    def __init__(self, *, use_case: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.use_case = use_case

    def pre_execute(self, context: Context) -> None:
        """Refuse a DAG run whose ``conf`` names a field that the form does not have; Airflow would ignore it."""
        from include.core.errors import ConfError
        from include.core.words import nearest

        known = list(self.dag.params) if self.dag is not None else []
        unknown = [
            f'"{name}" unknown{nearest(name, known)}' for name in context["dag_run"].conf or {} if name not in known
        ]
        if unknown:
            raise ConfError(f"conf: {'; '.join(unknown)}. {self.dag_id} knows {', '.join(known)}; trigger it again")

    def workspace(self) -> Workspace:
        """Open the workspace of the use case."""
        from include.steps.workspace import Workspace

        return Workspace.open(self.use_case)

    def attempt_of(self, context: Context, workspace: Workspace) -> Attempt:
        """Return this attempt of the task as the lake records it."""
        from lifecycle.context import attempt_of

        return attempt_of(context, workspace)

    # ---- values of other tasks --------------------------------------------------------------------

    def take(self, kind: type[Value], given: Any) -> Value:
        """Read the value that the task before returned.

        Raises:
            ConfError: it is not such a value.
        """
        from include.core.errors import ConfError

        try:
            return kind.model_validate(given)
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            raise ConfError(
                f"{self.task_id}: the task before returned no {kind.__name__} that this release can read ({faults}); "
                "clear that task, and this one runs again after it"
            ) from error

    def give(self, value: BaseModel) -> dict[str, Any]:
        """Return ``value`` as the plain JSON that the next task reads."""
        return value.model_dump(mode="json")


class SpanOperator(LifecycleOperator):
    """An operator that works on a span of partitions.

    :param span: ``first`` and ``last`` partition, as the task before returned them. None skips the task.
    """

    template_fields: Sequence[str] = ("span",)

    def __init__(self, *, span: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.span = span

    def pre_execute(self, context: Context) -> None:
        """Skip where the task before has found nothing to do; raises like the base class."""
        super().pre_execute(context)
        if self.span is None:
            raise AirflowSkipException("no partition of this step is stale")
