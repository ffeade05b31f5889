"""The findings of an audit, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from include.core.errors import AuditFailed
from include.spec.suite import Severity

AuditVerdict = Literal["passed", "warned", "failed"]
NAMED_PARTITIONS = 7


@dataclass(frozen=True)
class ExpectationResult:
    """One expectation's result.

    Attributes:
        subject: the checked column or columns; empty for the table as a whole.
        observed: the value found, for expectations about one value; else the share of rows, if known.
        unexpected: number of rows that broke it; ``None`` where rows are not counted.
        examples: a few of those rows: their ``ds``, key and offending values, as text.
        partitions: broken rows by failing partition, 0 where rows are not counted; empty where it holds, and for a
            column that is missing from all.
    """

    type: str
    subject: str
    severity: Severity
    success: bool
    why: str
    observed: str
    unexpected: int | None = None
    examples: tuple[Mapping[str, str], ...] = ()
    partitions: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        found = [self.observed, "" if self.unexpected is None else f"{self.unexpected} rows"]
        told = ", ".join(part for part in found if part)
        return f"{self.type}({self.subject}): {self.why} (found {told}{in_partitions(self.partitions)})"


@dataclass(frozen=True)
class AuditReport:
    """One audit of one table's staged rows.

    Attributes:
        partitions: the keys that were audited.
        rows: number of audited rows.
        docs: path of the HTML page.
    """

    use_case: str
    table: str
    partitions: tuple[str, ...]
    rows: int
    results: tuple[ExpectationResult, ...]
    docs: str

    @property
    def checked(self) -> int:
        """Count the evaluated expectations."""
        return len(self.results)

    @property
    def failures(self) -> tuple[ExpectationResult, ...]:
        """Return the failed critical expectations."""
        return self._failed("critical")

    @property
    def warnings(self) -> tuple[ExpectationResult, ...]:
        """Return the failed expectations that do not stop the publish."""
        return self._failed("warning")

    @property
    def verdict(self) -> AuditVerdict:
        """Return ``failed`` or ``warned`` by the worst failed expectation, else ``passed``."""
        if self.failures:
            return "failed"
        return "warned" if self.warnings else "passed"

    @property
    def failing_partitions(self) -> tuple[str, ...]:
        """Return the partitions in which a critical expectation failed, as far as known."""
        return tuple(sorted({key for failure in self.failures for key in failure.partitions}))

    @property
    def verdicts(self) -> dict[str, AuditVerdict]:
        """Return the verdict of each audited partition, which is the same as if it had been loaded alone."""
        failed, warned = self._touched(self.failures), self._touched(self.warnings)
        return {key: "failed" if key in failed else "warned" if key in warned else "passed" for key in self.partitions}

    def raise_for_verdict(self, stage: str) -> None:
        """Return if the rows may be published.

        Args:
            stage: address of the staged rows, for the message.

        Raises:
            AuditFailed: they may not; the message names every failed critical expectation, the stage and the report.
        """
        if not self.failures:
            return
        named = "\n".join(f"  - {failure}" for failure in self.failures)
        raise AuditFailed(
            f"{self.use_case}/{self.table}: {len(self.failures)} of {self.checked} expectations failed"
            f"{in_partitions(dict.fromkeys(self.failing_partitions, 0))}; nothing was published\n{named}\n"
            f"The stage is kept in {stage}; the report is {self.docs}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON, with its verdict and counts."""
        counts = {"checked": self.checked, "failed": len(self.failures), "warned": len(self.warnings)}
        return {"verdict": self.verdict, **counts, **asdict(self)}

    def _touched(self, results: tuple[ExpectationResult, ...]) -> set[str]:
        # a finding without partitions is about all of them
        return {key for result in results for key in (result.partitions or self.partitions)}

    def _failed(self, severity: Severity) -> tuple[ExpectationResult, ...]:
        return tuple(r for r in self.results if not r.success and r.severity == severity)


def in_partitions(partitions: Mapping[str, int]) -> str:
    """Return `` in 2013-02-08, 2013-02-09``, shortened when there are many partitions, or an empty text."""
    keys = sorted(partitions)
    more = f" and {len(keys) - NAMED_PARTITIONS} more" if len(keys) > NAMED_PARTITIONS else ""
    return f" in {', '.join(keys[:NAMED_PARTITIONS])}{more}" if keys else ""
