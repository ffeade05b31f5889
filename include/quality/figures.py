"""Figures of a column or of the table, computed for every partition in one query, judged by the library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb
from great_expectations.core.expectation_validation_result import ExpectationValidationResult
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

from include.core.sql import identifier
from include.quality import expectations, gx_private
from include.quality.evaluation import engine_error, finding, raise_for_engine, relation_of
from include.quality.relations import Relations

# the library's name of the figure, and its SQL; all other figures are evaluated partition by partition
GROUPED = {
    "expect_column_max_to_be_between": ("column.max", "max({column})"),
    "expect_column_mean_to_be_between": ("column.mean", "avg(1.0::DOUBLE * {column})"),
    "expect_column_min_to_be_between": ("column.min", "min({column})"),
    "expect_column_stdev_to_be_between": ("column.standard_deviation", "stddev_samp({column})"),
    "expect_column_sum_to_be_between": ("column.sum", "sum({column})"),
    "expect_column_unique_value_count_to_be_between": ("column.distinct_values.count", "count(DISTINCT {column})"),
    "expect_table_row_count_to_be_between": ("table.row_count", "count(*)"),
    "expect_table_row_count_to_equal": ("table.row_count", "count(*)"),
}
_COUNTS = ("column.distinct_values.count", "table.row_count")


def grouped(
    relations: Relations, config: ExpectationConfiguration, keys: Sequence[str]
) -> dict[str, ExpectationValidationResult]:
    """Judge one figure of each partition of ``keys``.

    Raises:
        AuditEngineError: the figure cannot be computed.
    """
    metric, expression = GROUPED[config.type]
    query = expression.format(column=identifier(str(config.kwargs.get("column"))))
    values = _by_partition(relations, config, query)
    missing = 0 if metric in _COUNTS else None
    return {key: gx_private.judge(config, {metric: values.get(key, missing)}) for key in keys}


def not_finite(relations: Relations, config: ExpectationConfiguration) -> dict[str, ExpectationValidationResult]:
    """Return a finding for each partition in which the column of a figure holds NaN or infinity."""
    column = config.kwargs.get("column")
    if config.type not in expectations.FIGURE_RULES or column not in relations.floating:
        return {}
    counts = _by_partition(relations, config, f"count(*) FILTER (WHERE NOT isfinite({identifier(str(column))}))")
    words = "{} values are NaN or infinite"
    return {key: finding(config, False, words.format(n)) for key, n in counts.items() if n and key in relations.keys}


def _by_partition(relations: Relations, config: ExpectationConfiguration, expression: str) -> dict[str, Any]:
    relation = relation_of(relations, config)
    try:
        rows = relations.session.execute(f"SELECT ds::VARCHAR, {expression} FROM {relation} GROUP BY ds").fetchall()
    except duckdb.Error as error:
        raise_for_engine(relations.suite, [engine_error(config, error)])
        raise
    return dict(rows)
