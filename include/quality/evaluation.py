"""Evaluation of expectations over the rows that the relations show; errors of the engine are kept apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
from great_expectations.core.expectation_validation_result import ExpectationValidationResult
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

from include.core.errors import AuditEngineError
from include.quality import duckdb_dialect, expectations, gx_private, sql_rules
from include.quality.judged import config_of, subject
from include.quality.relations import Relations
from include.spec.suite import Suite

EXAMPLES = 5


def evaluate(
    relations: Relations, configurations: Sequence[ExpectationConfiguration], examples: int = 0
) -> list[ExpectationValidationResult]:
    """Evaluate expectations over the rows that ``relations`` show: those in SQL as they are, others by the library.

    Raises:
        AuditEngineError: some could not be evaluated; the message names all of them.
    """
    found = [_sql_rule(relations, one) for one in configurations if one.type == expectations.SQL_RULE]
    others = [one for one in configurations if one.type != expectations.SQL_RULE]
    for relation in (expectations.STAGED, expectations.WITHOUT_NAN):
        asked = [one for one in others if relation_of(relations, one) == relation]
        if asked:
            found += _library(relations, relation, asked, examples)
    raise_for_engine(relations.suite, found)
    return found


def relation_of(relations: Relations, config: ExpectationConfiguration) -> str:
    """Return the view that an expectation is evaluated over."""
    missing = config.type in expectations.NULL_RULES and config.kwargs.get("column") in relations.floating
    return expectations.WITHOUT_NAN if missing else expectations.STAGED


def query_of(config: ExpectationConfiguration) -> str:
    """Return the query of a rule in SQL."""
    return str(config.kwargs["unexpected_rows_query"])


def finding(config: ExpectationConfiguration, success: bool, observed: Any) -> ExpectationValidationResult:
    """Return a verdict of ours in the library's form."""
    return ExpectationValidationResult(
        success=success,
        expectation_config=config,
        result={"observed_value": observed},
        exception_info={"raised_exception": False, "exception_message": None, "exception_traceback": None},
    )


def engine_error(config: ExpectationConfiguration, error: Exception) -> ExpectationValidationResult:
    """Return an error of the engine in the library's form."""
    return ExpectationValidationResult(
        success=False,
        expectation_config=config,
        result={},
        exception_info={"raised_exception": True, "exception_message": str(error), "exception_traceback": None},
    )


def raise_for_engine(suite: Suite, validations: Sequence[ExpectationValidationResult]) -> None:
    """Return if every expectation could be evaluated.

    Raises:
        AuditEngineError: some could not; the message names all of them.
    """
    faults = [
        f"  - {config_of(validation).type}({subject(config_of(validation))}): {message}"
        for validation in validations
        for message in _engine_messages(validation.exception_info)
    ]
    if faults:
        raise AuditEngineError(
            f"{suite.table}: {len(faults)} expectations could not be evaluated, so the rows are not "
            "checked and nothing was published. Correct the suite or the engine and run again:\n" + "\n".join(faults)
        )


def _sql_rule(relations: Relations, config: ExpectationConfiguration) -> ExpectationValidationResult:
    # not by the library, which takes a colon in the query for a parameter, and every brace for a field
    try:
        count = sql_rules.count_rows(relations.session, query_of(config), expectations.STAGED)
    except duckdb.Error as error:
        return engine_error(config, error)
    return finding(config, count == 0, count)


def _library(
    relations: Relations, relation: str, configurations: list[ExpectationConfiguration], examples: int
) -> list[ExpectationValidationResult]:
    result_format = {
        "result_format": "SUMMARY",
        "partial_unexpected_count": examples,
        "unexpected_index_column_names": list(dict.fromkeys(["ds", *relations.suite.key])),
        "return_unexpected_index_query": True,
    }
    engine = duckdb_dialect.engine(relations.session)
    return gx_private.evaluate(engine, duckdb_dialect.OPERATORS, relation, configurations, result_format)


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
