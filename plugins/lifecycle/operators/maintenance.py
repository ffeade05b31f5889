"""Maintenance: compaction, vacuum and verification of one use case's tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from lifecycle.operators.base import LifecycleOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class CompactOperator(LifecycleOperator):
    """Join the small files of partitions that have several; return how many files each table lost."""

    def execute(self, context: Context) -> dict[str, int]:
        from include.steps import maintenance

        return maintenance.compact(self.workspace())


class VacuumOperator(LifecycleOperator):
    """Delete the files that no reader can need any more; return how many by table.

    :param retention_hours: files younger than this stay.
    :param count_only: delete nothing.
    """

    template_fields: Sequence[str] = ("retention_hours", "count_only")

    def __init__(
        self,
        *,
        retention_hours: Any = "{{ params.retention_hours }}",
        count_only: Any = "{{ params.dry_run }}",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.retention_hours = retention_hours
        self.count_only = count_only

    def execute(self, context: Context) -> dict[str, int]:
        from include.steps import maintenance

        return maintenance.vacuum(self.workspace(), int(self.retention_hours), bool(self.count_only))


class VerifyOperator(LifecycleOperator):
    """Compare every partition with its publish record: when the form asks, and in the first scheduled run of a month.

    :param asked: verify whatever the day.
    """

    template_fields: Sequence[str] = ("asked",)

    def __init__(self, *, asked: Any = "{{ params.verify }}", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.asked = asked

    def execute(self, context: Context) -> dict[str, int]:
        from include.steps import verify
        from lifecycle.context import first_week_of_month

        workspace = self.workspace()
        if not self.asked and not first_week_of_month(context, workspace):
            raise AirflowSkipException("the lake is verified in the first scheduled run of a month, or when asked")
        found = verify.verify(workspace)
        for path in found.unnamed:
            self.log.warning("no commit names %s; vacuum deletes it when it is old enough", path)
        found.raise_for_differences()
        return {"partitions": found.partitions, "rows": found.rows, "unnamed": len(found.unnamed)}
