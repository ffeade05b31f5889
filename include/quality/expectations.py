"""What a suite's expectations mean to Great Expectations, and whether they can run over DuckDB."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import duckdb
import great_expectations.expectations  # noqa: F401  (registers every expectation)
from great_expectations.expectations.core.unexpected_rows_expectation import UnexpectedRowsExpectation
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.expectations.metadata_types import FailureSeverity
from great_expectations.expectations.registry import (
    get_expectation_impl,
    list_registered_expectation_implementations,
)

from include.core.words import nearest
from include.spec.suite import ExpectationRule, PartitionRows, Suite

STAGED = "staged"
PARTITIONS = "audited_partitions"
SQL_RULE = "unexpected_rows_expectation"
COUNTED_RULE = "unexpected_row_count"
TYPE_RULE = "expect_column_values_to_be_of_type"
_NO_SQL = "Great Expectations evaluates it only in pandas or Spark"
_TYPES = "declare the type under `columns`"
REFUSED = {
    "expect_column_kl_divergence_to_be_less_than": "drift is the monitor's, which compares with a reference",
    "expect_column_values_to_be_dateutil_parseable": _NO_SQL,
    "expect_column_values_to_be_decreasing": _NO_SQL,
    "expect_column_values_to_be_increasing": _NO_SQL,
    "expect_column_values_to_be_json_parseable": _NO_SQL,
    "expect_column_values_to_match_json_schema": _NO_SQL,
    "expect_column_values_to_match_strftime_format": _NO_SQL,
    "expect_column_values_to_not_be_outliers": "it is not implemented for DuckDB",
    "expect_column_type_to_be": _TYPES,
    "expect_column_values_to_be_in_type_list": _TYPES,
    "expect_column_values_to_be_of_type": _TYPES,
    "expect_query_results_to_match_comparison": f"it needs a second data source; join a view in {SQL_RULE}",
}
_COLUMN_KWARGS = ("column", "column_A", "column_B", "column_list")
_REGEX_KWARGS = ("regex", "regex_list")


class UnexpectedRowCount(UnexpectedRowsExpectation):
    """Rows that a query finds, counted.

    The parent also fetches the rows, all of them once results are buffered; examples are fetched
    separately, and only when there are any.
    """

    metric_dependencies: ClassVar[tuple[str, ...]] = ("unexpected_rows_query.row_count",)

    def _validate(
        self, metrics: dict[str, Any], runtime_configuration: Any = None, execution_engine: Any = None
    ) -> dict[str, Any]:
        count = metrics["unexpected_rows_query.row_count"]
        return {"success": count == 0, "result": {"observed_value": count}}


def configurations(suite: Suite, first_partition: str | None) -> list[ExpectationConfiguration]:
    """Every check of a suite, built-in ones first, each with its ``why`` in the metadata."""
    rules = [*_built_in(suite, first_partition), *suite.expectations]
    return [_configure(rule, position) for position, rule in enumerate(rules)]


def rows_query(kwargs: dict[str, Any]) -> str:
    """The query of an SQL rule over the staged rows."""
    return str(kwargs["unexpected_rows_query"]).format(batch=STAGED)


def known_types() -> frozenset[str]:
    """Names of every registered expectation, those that cannot run here among them."""
    return frozenset(list_registered_expectation_implementations()) - {COUNTED_RULE}


def arguments(type_name: str) -> frozenset[str]:
    """Names of what an expectation may be given under ``kwargs``."""
    return frozenset(_implementation(type_name).__fields__) - set(Expectation.__fields__) - {"batch_id"}


def faults(suite: Suite) -> list[str]:
    """Everything in a suite that could not run: names, arguments, columns, types, SQL, patterns."""
    found = [
        f'{field}: column "{name}" is not under `columns`{nearest(name, suite.columns)}'
        for field, name in _named_columns(suite)
        if name not in suite.columns
    ]
    for position, rule in enumerate(suite.expectations):
        found += [f"expectations[{position}]{fault}" for fault in _rule_faults(rule)]
    with _scratch().cursor() as connection:
        types = list(_type_faults(connection, suite))
        # predicates over columns of unknown type would only repeat the fault
        found += types or list(_sql_faults(connection, suite))
    return found


def _built_in(suite: Suite, first_partition: str | None) -> Iterator[ExpectationRule]:
    key = ", ".join(suite.key)
    for column in suite.key:
        if column in suite.null_in_key:
            continue
        yield ExpectationRule(
            type="expect_column_values_to_not_be_null",
            kwargs={"column": column},
            severity="critical",
            why=f"{column} is part of the key",
        )
    # the library's own check of several columns joins the table with itself and shows no examples
    others = "" if "ds" in suite.key else "min(ds) AS ds, "
    columns = ", ".join(f'"{column}"' for column in suite.key)
    yield _rows_rule(
        f"SELECT {others}{columns}, count(*) AS copies FROM {{batch}} GROUP BY {columns} HAVING count(*) > 1",
        "critical",
        f"the key ({key}) names one row",
    )
    yield _rows_rule(
        f"SELECT ds FROM {{batch}} WHERE ds IS NULL OR ds NOT IN (SELECT ds FROM {PARTITIONS})",
        "critical",
        "every row belongs to a partition of this run",
    )
    legitimate = sorted(suite.may_be_empty(first_partition))
    excused = f" AND ds NOT IN ({', '.join(repr(key) for key in legitimate)})" if legitimate else ""
    yield _rows_rule(
        f"SELECT ds FROM {PARTITIONS} WHERE ds NOT IN (SELECT ds FROM {{batch}} WHERE ds IS NOT NULL){excused}",
        "critical",
        "no partition is empty" + (f", except {', '.join(legitimate)}" if legitimate else ""),
    )
    for bounds in suite.rows_per_partition:
        yield _rows_rule(_size_query(bounds), bounds.severity, bounds.why)


def _size_query(bounds: PartitionRows) -> str:
    outside = [
        f"count(*) {sign} {bound}" for sign, bound in (("<", bounds.min), (">", bounds.max)) if bound is not None
    ]
    return f"SELECT ds, count(*) AS rows FROM {{batch}} GROUP BY ds HAVING {' OR '.join(outside)}"


def _rows_rule(query: str, severity: Any, why: str) -> ExpectationRule:
    return ExpectationRule(type=SQL_RULE, kwargs={"unexpected_rows_query": query}, severity=severity, why=why)


def _configure(rule: ExpectationRule, position: int) -> ExpectationConfiguration:
    implementation = _implementation(rule.type)
    expectation = implementation(**rule.kwargs, severity=FailureSeverity(rule.severity))
    configuration = expectation.configuration
    # results come back in another order than they were asked for
    configuration.meta = {"position": position, "why": rule.why}
    return configuration


def _implementation(name: str) -> type[Expectation]:
    return UnexpectedRowCount if name == SQL_RULE else get_expectation_impl(name)


def _named_columns(suite: Suite) -> Iterator[tuple[str, str]]:
    for name in suite.key:
        yield "key", name
    for name in suite.null_in_key:
        yield "null_in_key", name
    if "ds" not in suite.columns:
        yield "columns", "ds"
    for position, rule in enumerate(suite.expectations):
        for field in _COLUMN_KWARGS:
            value = rule.kwargs.get(field, [])
            for name in [value] if isinstance(value, str) else value:
                yield f"expectations[{position}].kwargs.{field}", name


def _rule_faults(rule: ExpectationRule) -> list[str]:
    known = known_types()
    if rule.type in REFUSED:
        return [f'.type: "{rule.type}" cannot be used here: {REFUSED[rule.type]}']
    if rule.type not in known:
        return [f'.type: "{rule.type}" is no expectation{nearest(rule.type, known)}']
    allowed = arguments(rule.type)
    unknown = sorted(set(rule.kwargs) - allowed)
    if unknown:
        return [f".kwargs.{name}: unknown argument{nearest(name, allowed)}" for name in unknown]
    try:
        _implementation(rule.type)(**rule.kwargs)
    except Exception as error:  # its own pydantic (v1) error, or whatever a validator of it raises
        details = error.errors() if hasattr(error, "errors") else [{"loc": (), "msg": str(error)}]
        return [f".kwargs.{'.'.join(map(str, d['loc']))}: {d['msg']}" for d in details]
    if rule.type == SQL_RULE and "{batch}" not in rule.kwargs["unexpected_rows_query"]:
        return [".kwargs.unexpected_rows_query: does not read {batch}, so it checks nothing staged"]
    return []


@functools.cache
def _scratch() -> duckdb.DuckDBPyConnection:
    """An empty database, whose cursors share nothing temporary: opening one takes longer than binding a suite."""
    return duckdb.connect(config={"threads": 1})


def _type_faults(connection: duckdb.DuckDBPyConnection, suite: Suite) -> Iterator[str]:
    for name, type_name in suite.columns.items():
        try:
            connection.execute(f"SELECT CAST(NULL AS {type_name})")
        except duckdb.Error:
            types = connection.execute("SELECT upper(type_name) FROM duckdb_types()").fetchall()
            close = nearest(type_name.upper(), {row[0] for row in types})
            yield f'columns.{name}: "{type_name}" is no DuckDB type{close}'


def _sql_faults(connection: duckdb.DuckDBPyConnection, suite: Suite) -> Iterator[str]:
    connection.execute(f"CREATE TEMP VIEW {STAGED} AS {empty_rows(suite)}")
    connection.execute(f"CREATE TEMP TABLE {PARTITIONS} (ds VARCHAR)")
    for position, rule in enumerate(suite.quarantine):
        yield from _bind(connection, f"quarantine[{position}].when", f"SELECT ({rule.when})::BOOLEAN FROM {STAGED}")
    for position, expectation in enumerate(suite.expectations):
        where = f"expectations[{position}].kwargs"
        for field in _REGEX_KWARGS:
            value = expectation.kwargs.get(field, [])
            for pattern in [value] if isinstance(value, str) else value:
                quoted = str(pattern).replace("'", "''")
                yield from _bind(
                    connection,
                    f"{where}.{field}",
                    f"SELECT regexp_matches(t, '{quoted}') FROM (SELECT '' AS t)",
                )
        if expectation.type == SQL_RULE and "{batch}" in expectation.kwargs.get("unexpected_rows_query", ""):
            query = rows_query(expectation.kwargs)
            yield from _bind(connection, f"{where}.unexpected_rows_query", query, suite.reads)


def _bind(connection: duckdb.DuckDBPyConnection, where: str, query: str, reads: Iterable[str] = ()) -> Iterator[str]:
    try:
        connection.execute(query)
    except duckdb.Error as error:
        message = str(error).splitlines()[0]
        # a view of another table has columns that only the audit knows
        if not any(f"name {name} " in message for name in reads):
            yield f"{where}: {message}"


def empty_rows(suite: Suite) -> str:
    """A query with a suite's columns and no rows."""
    columns = ", ".join(f'CAST(NULL AS {kind}) AS "{name}"' for name, kind in suite.columns.items())
    return f"SELECT {columns} WHERE false"
