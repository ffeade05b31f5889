"""Evaluation of a suite by Great Expectations over DuckDB; errors of the engine are kept apart from findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
from great_expectations.core.expectation_validation_result import ExpectationValidationResult
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

from include.core.errors import AuditEngineError
from include.quality import columns, duckdb_dialect, expectations, gx_private
from include.quality.report import ExpectationResult
from include.quality.samples import Samples
from include.spec.suite import Suite

EXAMPLES = 5


def validate(
    session: duckdb.DuckDBPyConnection, suite: Suite, first_partition: str | None
) -> list[ExpectationValidationResult]:
    """Evaluate every check of a suite over the view ``staged``, in the suite's order.

    Raises:
        AuditEngineError: some could not be evaluated; the message names all of them.
    """
    configurations = expectations.configurations(suite, first_partition)
    # without examples first: fetching them scans the table again for every expectation, even for those that hold
    validations = _evaluate(session, suite, configurations, examples=0)
    broken = [config_of(v) for v in validations if not v.success and "unexpected_count" in (v.result or {})]
    if broken:
        validations += _evaluate(session, suite, broken, examples=EXAMPLES)
    by_position = {_meta(config_of(v))["position"]: v for v in validations}
    return [by_position[position] for position in sorted(by_position)]


def _evaluate(
    session: duckdb.DuckDBPyConnection,
    suite: Suite,
    configurations: list[ExpectationConfiguration],
    examples: int,
) -> list[ExpectationValidationResult]:
    result_format = {
        "result_format": "SUMMARY",
        "partial_unexpected_count": examples,
        "unexpected_index_column_names": list(dict.fromkeys(["ds", *suite.key])),
        "return_unexpected_index_query": True,
    }
    validations = gx_private.evaluate(
        duckdb_dialect.engine(session),
        duckdb_dialect.OPERATORS,
        expectations.STAGED,
        configurations,
        result_format,
    )
    _raise_for_engine(suite, validations)
    return validations


def _raise_for_engine(suite: Suite, validations: Sequence[ExpectationValidationResult]) -> None:
    faults = [
        f"  - {config_of(validation).type}({_subject(config_of(validation))}): {message}"
        for validation in validations
        for message in _engine_messages(validation.exception_info)
    ]
    if faults:
        raise AuditEngineError(
            f"{suite.table}: {len(faults)} expectations could not be evaluated, so the rows are not "
            "checked and nothing was published. Correct the suite or the engine and run again:\n" + "\n".join(faults)
        )


def _engine_messages(info: Mapping[str, Any] | None) -> list[str]:
    """Return the first line of each error; Great Expectations nests several errors by metric."""
    if not info:
        return []
    if "raised_exception" in info:
        return [_first_line(info.get("exception_message"))] if info["raised_exception"] else []
    return sorted({_first_line(one.get("exception_message")) for one in info.values()})


def _first_line(message: Any) -> str:
    lines = [line.strip() for line in str(message).splitlines() if line.strip()]
    # the cause stands in the last line of a traceback, but in the first line of a message
    return (lines[-1] if lines and lines[0].startswith("Traceback") else "".join(lines[:1])) or "unknown error"


def result_of(validation: ExpectationValidationResult, samples: Samples) -> ExpectationResult:
    """Return a validation as our own value, with examples and partitions when it failed."""
    config, found = config_of(validation), validation.result or {}
    success = bool(validation.success)
    return ExpectationResult(
        type=expectations.SQL_RULE if config.type == gx_private.COUNTED_RULE else config.type,
        subject=_subject(config),
        severity="critical" if config.severity == "critical" else "warning",
        success=success,
        why=_meta(config)["why"],
        observed="" if config.type == gx_private.COUNTED_RULE else _observed(found),
        unexpected=_unexpected(config.type, found),
        examples=() if success else samples.examples(config, found, EXAMPLES),
        partitions={} if success else samples.partitions(config, found),
    )


def column_result(check: columns.ColumnCheck) -> ExpectationResult:
    """Return a column's check as one more expectation, always critical."""
    kind = "expect_column_to_exist" if check.found is None else expectations.TYPE_RULE
    why = "the column was promised" if check.success else check.message
    return ExpectationResult(kind, check.name, "critical", check.success, why, check.found or "nothing")


def _observed(found: Mapping[str, Any]) -> str:
    if found.get("observed_value") is not None:
        return str(found["observed_value"])
    if "unexpected_percent" in found:
        return f"{found['unexpected_percent'] or 0:.4g} % unexpected"
    return ""


def _unexpected(kind: str, found: Mapping[str, Any]) -> int | None:
    count = found.get("observed_value" if kind == gx_private.COUNTED_RULE else "unexpected_count")
    return None if count is None else int(count)


def _subject(config: ExpectationConfiguration) -> str:
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


def _meta(config: ExpectationConfiguration) -> dict[str, Any]:
    return dict(config.meta or {})
