"""Maintenance: compaction and vacuum of one use case's tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

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
