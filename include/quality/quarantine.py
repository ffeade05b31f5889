"""Rows that can never be used: split off before the audit, and kept with the rule that rejected them."""

from __future__ import annotations

from collections.abc import Mapping

import duckdb

from include.core import sql
from include.core.errors import AuditFailed
from include.quality import columns
from include.quality.sql_rules import predicate
from include.spec.suite import Suite

_NAMED = """to_json(CASE WHEN isnan({0}) THEN 'NaN' WHEN {0} > 0 THEN 'Infinity' ELSE '-Infinity' END)"""


def split_quarantine(connection: duckdb.DuckDBPyConnection, relation: str, suite: Suite) -> tuple[str, str]:
    """Return two queries that divide the rows of ``relation``, which is a query itself.

    The first returns the rows that no rule of the suite rejects, with unchanged columns. The second
    returns the others as ``ds``, ``rule`` (the first that holds), ``reason`` and ``row`` (all columns as
    JSON text, in which NaN and infinity are the texts ``NaN``, ``Infinity`` and ``-Infinity``).
    Together they return every row once.

    Raises:
        AuditFailed: a column that the suite names is missing or of another type.
    """
    checks = columns.check(connection, f"({relation})", suite)
    faults = "; ".join(check.message for check in checks if not check.success)
    if faults:
        raise AuditFailed(f"{suite.table}: {faults}. Nothing was published; correct the source or its adapter")
    types = columns.described(connection, f"({relation})")
    rule, reason = _cases(suite)
    # a name that no column has: DuckDB would read the column instead of the row
    row = sql.identifier("row" + "_" * max(map(len, types)))
    # in a select list, not in WHERE: there a rule may use window functions
    judged = f"SELECT {row} AS kept, {rule} AS rule FROM ({relation}) AS {row}"
    clean = f"SELECT unnest(kept) FROM ({judged}) WHERE rule IS NULL" if suite.quarantine else relation
    rejected = (
        f"SELECT kept.ds AS ds, rule, {reason} AS reason, {_json(types)} AS row FROM ({judged}) WHERE rule IS NOT NULL"
    )
    return clean, rejected


def _json(types: Mapping[str, str]) -> str:
    """Return SQL for the text of a row as JSON, which knows neither NaN nor infinity: they become text."""
    fields = []
    for name, kind in types.items():
        value = f"kept.{sql.identifier(name)}"
        if kind in columns.FLOATING:
            value = (
                f"CASE WHEN isfinite({value}) OR {value} IS NULL THEN to_json({value}) ELSE {_NAMED.format(value)} END"
            )
        elif any(one in kind for one in columns.FLOATING):
            odd = f"regexp_matches(to_json({value})::VARCHAR, '\\b(NaN|Infinity)\\b')"
            value = f"CASE WHEN {odd} THEN to_json({value}::VARCHAR) ELSE to_json({value}) END"
        fields.append(f"{_text(name)}, {value}")
    return f"json_object({', '.join(fields)})::VARCHAR"


def _cases(suite: Suite) -> tuple[str, str]:
    """Return SQL for the first rule that rejects a row, and for the reason of that rule."""
    if not suite.quarantine:
        return "NULL::VARCHAR", "NULL::VARCHAR"
    rules = " ".join(f"WHEN {predicate(rule.when)} THEN {_text(rule.name)}" for rule in suite.quarantine)
    reasons = " ".join(f"WHEN {_text(rule.name)} THEN {_text(rule.reason)}" for rule in suite.quarantine)
    return f"CASE {rules} END", f"CASE rule {reasons} END"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
