"""A suite's expectations in the terms of Great Expectations, and the check that they can run over DuckDB."""

from __future__ import annotations

import functools
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import duckdb
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.expectations.metadata_types import FailureSeverity

from include.core import sql
from include.core.words import nearest
from include.quality import gx_private, sql_rules
from include.spec.suite import ExpectationRule, PartitionRows, Suite

STAGED = "staged"
WITHOUT_NAN = "staged_without_nan"
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
# in a floating-point column NaN is missing for these
NULL_RULES = frozenset(
    {
        "expect_column_values_to_be_null",
        "expect_column_values_to_be_unique",
        "expect_column_values_to_not_be_null",
        "expect_column_proportion_of_non_null_values_to_be_between",
        "expect_column_proportion_of_unique_values_to_be_between",
        "expect_column_unique_value_count_to_be_between",
    }
)
# in DuckDB NaN and infinity are greater than any number
LARGEST = (-sys.float_info.max, sys.float_info.max)
RANGE_RULE = "expect_column_values_to_be_between"
# figures of a column, which mean nothing when a value is NaN or infinite
FIGURE_RULES = frozenset(
    f"expect_column_{figure}_to_be_between"
    for figure in ("min", "max", "mean", "median", "sum", "stdev", "quantile_values")
)
_COLUMN_KWARGS = ("column", "column_A", "column_B", "column_list")
_OWN = (STAGED, WITHOUT_NAN, PARTITIONS)
_REGEX_KWARGS = ("regex", "regex_list")


def configurations(
    suite: Suite, first_partition: str | None, floating: Collection[str] = ()
) -> list[ExpectationConfiguration]:
    """Return every check of a suite, built-in ones first, each with its ``why`` in the metadata.

    Args:
        floating: floating-point columns, whose ranges hold finite numbers only.
    """
    rules = list(_built_in(suite, first_partition))
    built_in = len(rules)
    return [
        _configure(rule, position, position < built_in, floating)
        for position, rule in enumerate([*rules, *suite.expectations])
    ]


def faults(suite: Suite, reads: Mapping[str, Suite] | None = None) -> list[str]:
    """List everything in a suite that cannot run: names, arguments, columns, types, SQL, patterns.

    Args:
        reads: suites of the other tables that it reads, as far as they are known; they give those tables' columns.
    """
    found = [
        f'{field}: column "{name}" is not under `columns`{nearest(name, suite.columns)}'
        for field, name in _named_columns(suite)
        if name not in suite.columns
    ]
    for position, rule in enumerate(suite.expectations):
        found += [f"expectations[{position}]{fault}" for fault in _rule_faults(rule)]
    found += [f'reads: "{name}" is a name of the audit; rename the table' for name in suite.reads if name in _OWN]
    with _scratch().cursor() as connection:
        types = list(_type_faults(connection, suite))
        # with an unknown type every predicate over its column fails too, which would only repeat the fault
        found += types or list(_sql_faults(connection, suite, reads or {}))
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
    columns = ", ".join(sql.identifier(column) for column in dict.fromkeys(["ds", *suite.key]))
    yield _rows_rule(
        f"SELECT {columns}, count(*) AS copies FROM {{batch}} GROUP BY {columns} HAVING count(*) > 1",
        "critical",
        f"the key ({key}) names one row",
    )
    yield _rows_rule(
        f"SELECT ds FROM {{batch}} WHERE ds IS NULL OR ds NOT IN (SELECT ds FROM {PARTITIONS})",
        "critical",
        "every row belongs to a partition of this run",
    )
    if not suite.may_be_empty:
        yield _no_partition_is_empty(sorted(suite.empty_keys(first_partition)))
    for bounds in suite.rows_per_partition:
        yield _rows_rule(_size_query(bounds), bounds.severity, bounds.why)


def _no_partition_is_empty(legitimate: Sequence[str]) -> ExpectationRule:
    excused = f" AND ds NOT IN ({', '.join(repr(key) for key in legitimate)})" if legitimate else ""
    return _rows_rule(
        f"SELECT ds FROM {PARTITIONS} WHERE ds NOT IN (SELECT ds FROM {{batch}} WHERE ds IS NOT NULL){excused}",
        "critical",
        "no partition is empty" + (f", except {', '.join(legitimate)}" if legitimate else ""),
    )


def _size_query(bounds: PartitionRows) -> str:
    outside = [
        f"count(*) {sign} {bound}" for sign, bound in (("<", bounds.min), (">", bounds.max)) if bound is not None
    ]
    return f"SELECT ds, count(*) AS rows FROM {{batch}} GROUP BY ds HAVING {' OR '.join(outside)}"


def _rows_rule(query: str, severity: Any, why: str) -> ExpectationRule:
    return ExpectationRule(type=SQL_RULE, kwargs={"unexpected_rows_query": query}, severity=severity, why=why)


def _configure(
    rule: ExpectationRule, position: int, built_in: bool, floating: Collection[str]
) -> ExpectationConfiguration:
    severity = FailureSeverity(rule.severity)
    # the library returns results in another order than it was given
    meta = {"position": position, "why": rule.why, "built_in": built_in}
    if rule.type == SQL_RULE:
        # not through the library's class, which reads every brace of the query as a field to fill in
        return ExpectationConfiguration(type=SQL_RULE, kwargs=rule.kwargs, meta=meta, severity=severity)
    kwargs = _finite(rule.kwargs) if rule.type == RANGE_RULE and rule.kwargs["column"] in floating else rule.kwargs
    configuration = gx_private.implementation(rule.type)(**kwargs, severity=severity).configuration
    configuration.meta = meta
    return configuration


def _finite(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Close a range by the largest numbers, so that it holds neither NaN nor infinity."""
    ends = dict(zip(("min_value", "max_value"), LARGEST, strict=True))
    return {**kwargs, **{name: end for name, end in ends.items() if kwargs.get(name) is None}}


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
    if rule.type == SQL_RULE:
        return _query_faults(rule.kwargs.get("unexpected_rows_query"))
    try:
        gx_private.implementation(rule.type)(**rule.kwargs)
    except Exception as error:  # the library's pydantic (v1) error, or any error of one of its validators
        details = error.errors() if hasattr(error, "errors") else [{"loc": (), "msg": str(error)}]
        return [f".kwargs.{'.'.join(map(str, d['loc']))}: {d['msg']}" for d in details]
    return []


def _query_faults(query: Any) -> list[str]:
    if not isinstance(query, str):
        return [f".kwargs.unexpected_rows_query: must be a query over {sql_rules.BATCH}, not {query!r}"]
    if sql_rules.BATCH not in query:
        return [f".kwargs.unexpected_rows_query: does not read {sql_rules.BATCH}, so it checks nothing staged"]
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


def _sql_faults(connection: duckdb.DuckDBPyConnection, suite: Suite, reads: Mapping[str, Suite]) -> Iterator[str]:
    for name, other in reads.items():
        if name not in _OWN and not any(_type_faults(connection, other)):
            connection.execute(f'CREATE TEMP VIEW "{name}" AS {empty_rows(other)}')
    unknown = [name for name in suite.reads if name not in reads]
    connection.execute(f"CREATE TEMP VIEW {STAGED} AS {empty_rows(suite)}")
    connection.execute(f"CREATE TEMP TABLE {PARTITIONS} (ds VARCHAR)")
    for position, rule in enumerate(suite.quarantine):
        query = f"SELECT CASE WHEN {sql_rules.predicate(rule.when)} THEN 1 END FROM {STAGED}"
        yield from _bind(connection, f"quarantine[{position}].when", query)
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
        if expectation.type == SQL_RULE and not _rule_faults(expectation):
            query = sql_rules.over(expectation.kwargs["unexpected_rows_query"], STAGED)
            # as the audit runs it
            yield from _bind(connection, f"{where}.unexpected_rows_query", f"SELECT * FROM {query}", unknown)


def _bind(connection: duckdb.DuckDBPyConnection, where: str, query: str, reads: Iterable[str] = ()) -> Iterator[str]:
    try:
        connection.execute(query)
    except duckdb.Error as error:
        message = str(error).splitlines()[0]
        # a table that is read and has no suite: only the audit knows its columns
        if not any(f"name {name} " in message for name in reads):
            yield f"{where}: {message}"


def empty_rows(suite: Suite) -> str:
    """Return a query with a suite's columns and no rows."""
    columns = ", ".join(f"CAST(NULL AS {kind}) AS {sql.identifier(name)}" for name, kind in suite.columns.items())
    return f"SELECT {columns} WHERE false"
