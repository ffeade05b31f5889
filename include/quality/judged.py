"""One evaluated expectation: the library's result, the partitions that broke it, a few of their rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from great_expectations.core.expectation_validation_result import ExpectationValidationResult
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

from include.core.errors import AuditEngineError
from include.quality import columns, expectations
from include.quality.report import ExpectationResult


@dataclass(frozen=True)
class Judged:
    """One expectation with its verdict.

    Attributes:
        partitions: broken rows by failing partition, 0 where rows are not counted.
        examples: a few of those rows, values as text.
    """

    validation: ExpectationValidationResult
    partitions: Mapping[str, int] = field(default_factory=dict)
    examples: tuple[Mapping[str, str], ...] = ()


def result_of(judged: Judged) -> ExpectationResult:
    """Return a judged expectation as our own value."""
    config, found = config_of(judged.validation), judged.validation.result or {}
    return ExpectationResult(
        type=config.type,
        subject=subject(config),
        severity="critical" if config.severity == "critical" else "warning",
        success=bool(judged.validation.success),
        why=meta(config)["why"],
        observed="" if config.type == expectations.SQL_RULE else _observed(found),
        unexpected=sum(judged.partitions.values()) or unexpected(config.type, found),
        examples=judged.examples,
        partitions=judged.partitions,
    )


def column_result(check: columns.ColumnCheck) -> ExpectationResult:
    """Return a column's check as one more expectation, always critical."""
    kind = "expect_column_to_exist" if check.found is None else expectations.TYPE_RULE
    why = "the column was promised" if check.success else check.message
    return ExpectationResult(kind, check.name, "critical", check.success, why, check.found or "nothing")


def unexpected(kind: str, found: Mapping[str, Any]) -> int | None:
    """Return how many rows broke an expectation, if its result counts rows."""
    count = found.get("observed_value" if kind == expectations.SQL_RULE else "unexpected_count")
    return None if count is None else int(count)


def subject(config: ExpectationConfiguration) -> str:
    """Return the names of the checked columns."""
    kwargs = config.kwargs
    pair = [kwargs[name] for name in ("column", "column_A", "column_B") if name in kwargs]
    return ", ".join(pair or kwargs.get("column_list", []))


def config_of(validation: ExpectationValidationResult) -> ExpectationConfiguration:
    """Return the evaluated expectation.

    Raises:
        AuditEngineError: there is none, which the library's type allows and its validator never does.
    """
    if validation.expectation_config is None:
        raise AuditEngineError(
            "Great Expectations returned a result without its expectation; report this with the suite"
        )
    return validation.expectation_config


def meta(config: ExpectationConfiguration) -> dict[str, Any]:
    """Return the position, the reason and the origin of an expectation."""
    return dict(config.meta or {})


def _observed(found: Mapping[str, Any]) -> str:
    if found.get("observed_value") is not None:
        return str(found["observed_value"])
    if "unexpected_percent" in found:
        return f"{found['unexpected_percent'] or 0:.4g} % unexpected"
    return ""
