"""A suite's expectations in the terms of Great Expectations, and the check that they can run over DuckDB."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import Any

import duckdb
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.expectations.metadata_types import FailureSeverity

from include.core import sql
from include.core.words import nearest
from include.quality import gx_private
from include.spec.suite import ExpectationRule, PartitionRows, Suite

STAGED = "staged"
PARTITIONS = "audited_partitions"
SQL_RULE = "unexpected_rows_expectation"
TYPE_RULE = "expect_column_values_to_be_of_type"
_NO_SQL = "Great Expectations evaluates it only in pandas or Spark"
_TYPES = "declare the type under `columns`"
REFUSED = {
    "expect_column_kl_divergence_to_be_less_than": "the monitor step measures drift, against a reference",
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


def configurations(suite: Suite, first_partition: str | None) -> list[ExpectationConfiguration]:
    """Return every check of a suite, built-in ones first, each with its ``why`` in the metadata."""
    rules = [*_built_in(suite, first_partition), *suite.expectations]
    return [_configure(rule, position) for position, rule in enumerate(rules)]


def rows_query(kwargs: dict[str, Any]) -> str:
    """Return the query of an SQL rule over the staged rows."""
    return str(kwargs["unexpected_rows_query"]).format(batch=STAGED)


def faults(suite: Suite) -> list[str]:
    """List everything in a suite that cannot run: names, arguments, columns, types, SQL, patterns."""
    found = [
        f'{field}: column "{name}" is not under `columns`{nearest(name, suite.columns)}'
        for field, name in _named_columns(suite)
        if name not in suite.columns
    ]
    for position, rule in enumerate(suite.expectations):
        found += [f"expectations[{position}]{fault}" for fault in _rule_faults(rule)]
    with _scratch().cursor() as connection:
        types = list(_type_faults(connection, suite))
        # with an unknown type every predicate over its column fails too, which would only repeat the fault
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
    # the library's expectation for several columns joins the table with itself and returns no examples
    others = "" if "ds" in suite.key else "min(ds) AS ds, "
    columns = ", ".join(sql.identifier(column) for column in suite.key)
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
    # the library returns results in another order than it was given
    configuration.meta = {"position": position, "why": rule.why}
    return configuration


def _implementation(name: str) -> type[Expectation]:
    return gx_private.UnexpectedRowCount if name == SQL_RULE else gx_private.implementation(name)


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
    known = gx_private.known_types()
    if rule.type in REFUSED:
        return [f'.type: "{rule.type}" cannot be used here: {REFUSED[rule.type]}']
    if rule.type not in known:
        return [f'.type: "{rule.type}" is no expectation{nearest(rule.type, known)}']
    allowed = gx_private.arguments(rule.type)
    unknown = sorted(set(rule.kwargs) - allowed)
    if unknown:
        return [f".kwargs.{name}: unknown argument{nearest(name, allowed)}" for name in unknown]
    try:
        _implementation(rule.type)(**rule.kwargs)
    except Exception as error:  # the library's pydantic (v1) error, or any error of one of its validators
        details = error.errors() if hasattr(error, "errors") else [{"loc": (), "msg": str(error)}]
        return [f".kwargs.{'.'.join(map(str, d['loc']))}: {d['msg']}" for d in details]
    if rule.type == SQL_RULE and "{batch}" not in rule.kwargs["unexpected_rows_query"]:
        return [".kwargs.unexpected_rows_query: does not read {batch}, so it checks nothing staged"]
    return []


@functools.cache
def _scratch() -> duckdb.DuckDBPyConnection:
    """Return an empty database, opened once: opening one takes longer than binding a suite.

    Its cursors do not see each other's temporary views and tables.
    """
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
        # only the audit knows the columns of the other tables that the suite reads
        if not any(f"name {name} " in message for name in reads):
            yield f"{where}: {message}"


def empty_rows(suite: Suite) -> str:
    """Return a query with a suite's columns and no rows."""
    columns = ", ".join(f"CAST(NULL AS {kind}) AS {sql.identifier(name)}" for name, kind in suite.columns.items())
    return f"SELECT {columns} WHERE false"
