"""The spec of an expectation suite: what a table must look like before it is published.

A suite holds values only. Each partition is judged as if it had been loaded alone. In floating-point columns NaN
counts as missing where an expectation is about null, and no range holds NaN or infinity. SQL is DuckDB's, where NaN is
no null and is greater than every number: ask for it by ``isnan``.

Names of expectations and their arguments are those of Great Expectations, checked
against its own registry when the suite loads (``include.quality.expectations``).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from include.core.partitions import Period
from include.spec.values import StrictValues

Severity = Literal["critical", "warning"]
Text = Annotated[str, Field(min_length=1)]
FirstOrKey = Annotated[str, Field(pattern=f"^(first|{'|'.join(one.pattern for one in Period)})$")]
Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class QuarantineRule(StrictValues):
    """Rows that can never be used. They are split off before the audit and kept with the reason.

    Attributes:
        name: what the rule is called in the quarantine table.
        when: SQL predicate over the table's columns; true sends the row away, null keeps it.
        reason: why such a row is useless, for people who find it in quarantine.
    """

    name: Identifier
    when: Text
    reason: Text


class PartitionRows(StrictValues):
    """Bounds of the rows of each partition, both included."""

    min: Annotated[int, Field(ge=1)] | None = None
    max: Annotated[int, Field(ge=1)] | None = None
    severity: Severity
    why: Text


class ExpectationRule(StrictValues):
    """One expectation of Great Expectations with its arguments.

    Attributes:
        type: a registered name, such as ``expect_column_values_to_be_between``.
        severity: ``critical`` stops the publish, ``warning`` is published and reported.
        why: what the rule protects; shown in the report.
    """

    type: Text
    kwargs: dict[str, Any] = {}
    severity: Severity
    why: Text


class Suite(StrictValues):
    """Everything that is checked about one table.

    Attributes:
        table: the table's name within its layer, such as ``outcomes``.
        key: columns that identify a row of a partition; never null or NaN, never repeated in it.
        null_in_key: those of them that may be null after all, where null names something itself.
        columns: DuckDB type of each column that must be there.
        other_columns: whether columns that are not listed may be there too. ``allowed``: a column that begins to be
            delivered is added to the table, and older partitions read null; ``refused``: the audit fails.
        reads: names of other raw tables that expectations join: the rows of the same partition, or the whole
            table if it is a reference table.
        may_be_empty: whether any partition may have no rows, as where events are rare.
        may_be_empty_on: partitions that may have no rows, where others may not: keys, or ``first`` for the first one of
            history.
        rows_per_partition: bounds on the size of each partition.
    """

    table: Identifier
    key: Annotated[list[str], Field(min_length=1)]
    null_in_key: list[str] = []
    columns: Annotated[dict[str, str], Field(min_length=1)]
    other_columns: Literal["allowed", "refused"] = "allowed"
    reads: list[Identifier] = []
    may_be_empty: bool = False
    may_be_empty_on: list[FirstOrKey] = []
    rows_per_partition: list[PartitionRows] = []
    quarantine: list[QuarantineRule] = []
    expectations: list[ExpectationRule] = []

    def empty_keys(self, first_partition: str | None) -> frozenset[str]:
        """Return the keys of ``may_be_empty_on``, with ``first`` resolved."""
        keys = {first_partition if key == "first" else key for key in self.may_be_empty_on}
        return frozenset(key for key in keys if key is not None)
