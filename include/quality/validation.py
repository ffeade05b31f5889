"""Great Expectations over DuckDB: evaluate a suite, tell findings from engine errors."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
from great_expectations.core.expectation_validation_result import ExpectationValidationResult
from great_expectations.execution_engine.sqlalchemy_batch_data import SqlAlchemyBatchData
from great_expectations.execution_engine.sqlalchemy_execution_engine import SqlAlchemyExecutionEngine
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.validator.validator import Validator

from include.core.errors import AuditEngineError
from include.quality import columns, duckdb_dialect, expectations
from include.quality.report import ExpectationResult
from include.quality.samples import Evidence
from include.spec.suite import Suite

EXAMPLES = 5


def validate(
    session: duckdb.DuckDBPyConnection, suite: Suite, first_partition: str | None
) -> list[ExpectationValidationResult]:
    """Evaluate every check of a suite over the view ``staged``, in the suite's order.

    Raises:
        AuditEngineError: some could not be evaluated; names all of them.
    """
    configurations = expectations.configurations(suite, first_partition)
    # fetching examples scans the table again for every expectation, even for those that hold
    validations = _evaluate(_validator(session), suite, configurations, examples=0)
    broken = [config_of(v) for v in validations if not v.success and "unexpected_count" in (v.result or {})]
    if broken:
        validations += _evaluate(_validator(session), suite, broken, examples=EXAMPLES)
    by_position = {_meta(config_of(v))["position"]: v for v in validations}
    return [by_position[position] for position in sorted(by_position)]


def _evaluate(
    validator: Validator, suite: Suite, configurations: list[ExpectationConfiguration], examples: int
) -> list[ExpectationValidationResult]:
    result_format = {
        "result_format": "SUMMARY",
        "partial_unexpected_count": examples,
        "unexpected_index_column_names": list(dict.fromkeys(["ds", *suite.key])),
        "return_unexpected_index_query": True,
    }
    with quiet():
        validations: list[ExpectationValidationResult] = validator.graph_validate(
            configurations=configurations, runtime_configuration={"result_format": result_format}
        )
    _raise_for_engine(suite, validations)
    return validations


def _validator(session: duckdb.DuckDBPyConnection) -> Validator:
    execution = SqlAlchemyExecutionEngine(engine=duckdb_dialect.engine(session), create_temp_table=False)
    execution.dialect_module = duckdb_dialect.OPERATORS
    batch = SqlAlchemyBatchData(execution, table_name=expectations.STAGED, create_temp_table=False)
    execution.load_batch_data(expectations.STAGED, batch)
    validator = Validator(execution_engine=execution)
    validator.metrics_calculator.show_progress_bars = False
    return validator


def _raise_for_engine(suite: Suite, validations: Sequence[ExpectationValidationResult]) -> None:
    faults = [
        f"  - {config_of(validation).type}({_subject(config_of(validation))}): {message}"
        for validation in validations
        for message in _engine_messages(validation.exception_info)
    ]
    if faults:
        raise AuditEngineError(
            f"{suite.table}: {len(faults)} expectations could not be evaluated, so nothing is known about "
            "the rows and nothing was published. Mend the suite or the engine and run again:\n" + "\n".join(faults)
        )


def _engine_messages(info: Mapping[str, Any] | None) -> list[str]:
    """First line of each error; Great Expectations nests them by metric when there are several."""
    if not info:
        return []
    if "raised_exception" in info:
        return [_first_line(info.get("exception_message"))] if info["raised_exception"] else []
    return sorted({_first_line(one.get("exception_message")) for one in info.values()})


def _first_line(message: Any) -> str:
    lines = [line.strip() for line in str(message).splitlines() if line.strip()]
    # a traceback's cause stands in its last line, a message's in its first
    return (lines[-1] if lines and lines[0].startswith("Traceback") else "".join(lines[:1])) or "unknown error"


def result_of(validation: ExpectationValidationResult, evidence: Evidence) -> ExpectationResult:
    """A validation as our own value, with examples and partitions when it failed."""
    config, found = config_of(validation), validation.result or {}
    success = bool(validation.success)
    return ExpectationResult(
        type=expectations.SQL_RULE if config.type == expectations.COUNTED_RULE else config.type,
        subject=_subject(config),
        severity="critical" if config.severity == "critical" else "warning",
        success=success,
        why=_meta(config)["why"],
        observed="" if config.type == expectations.COUNTED_RULE else _observed(found),
        unexpected=_unexpected(config.type, found),
        examples=() if success else evidence.examples(config, found, EXAMPLES),
        partitions={} if success else evidence.partitions(config, found),
    )


def column_result(check: columns.ColumnCheck) -> ExpectationResult:
    """A column's check as one more expectation, always critical."""
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
    count = found.get("observed_value" if kind == expectations.COUNTED_RULE else "unexpected_count")
    return None if count is None else int(count)


def _subject(config: ExpectationConfiguration) -> str:
    kwargs = config.kwargs
    pair = [kwargs[name] for name in ("column", "column_A", "column_B") if name in kwargs]
    return ", ".join(pair or kwargs.get("column_list", []))


def config_of(validation: ExpectationValidationResult) -> ExpectationConfiguration:
    """What was evaluated; the library's type allows for none, its validator never leaves it out."""
    if validation.expectation_config is None:
        raise AuditEngineError("a validation came back without its expectation")
    return validation.expectation_config


def _meta(config: ExpectationConfiguration) -> dict[str, Any]:
    return dict(config.meta or {})


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Great Expectations from logging what is raised or shown anyway."""
    logger = logging.getLogger("great_expectations")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
