"""Rows that can never be used: split off before the audit, and kept with the rule that rejected them."""

from __future__ import annotations

import duckdb

from include.core import sql
from include.core.errors import AuditFailed
from include.quality import columns
from include.spec.suite import Suite


def split_quarantine(connection: duckdb.DuckDBPyConnection, relation: str, suite: Suite) -> tuple[str, str]:
    """Return two queries that divide the rows of ``relation``, which is a query itself.

    The first returns the rows that no rule of the suite rejects, with unchanged columns. The second
    returns the others as ``ds``, ``rule`` (the first that holds), ``reason`` and ``row`` (all columns as
    JSON text). Together they return every row once.

    Raises:
        AuditFailed: a column that the suite names is missing or of another type.
    """
    checks = columns.check(connection, f"({relation})", suite)
    faults = "; ".join(check.message for check in checks if not check.success)
    if faults:
        raise AuditFailed(f"{suite.table}: {faults}. Nothing was published; correct the source or its adapter")
    rule, reason = _cases(suite)
    # in a select list, not in WHERE: there a rule may use window functions
    whole = sql.identifier(
        sql.unused("delivered", [name for name, *_ in connection.execute(f"DESCRIBE {relation}").fetchall()])
    )
    judged = f"SELECT {whole} AS kept, {rule} AS rule FROM ({relation}) AS {whole}"
    clean = f"SELECT unnest(kept) FROM ({judged}) WHERE rule IS NULL" if suite.quarantine else relation
    rejected = (
        f"SELECT kept.ds AS ds, rule, {reason} AS reason, to_json(kept)::VARCHAR AS row "
        f"FROM ({judged}) WHERE rule IS NOT NULL"
    )
    return clean, rejected


def _cases(suite: Suite) -> tuple[str, str]:
    """Return SQL for the first rule that rejects a row, and for the reason of that rule."""
    if not suite.quarantine:
        return "NULL::VARCHAR", "NULL::VARCHAR"
    rules = " ".join(f"WHEN ({rule.when}) THEN {_text(rule.name)}" for rule in suite.quarantine)
    reasons = " ".join(f"WHEN {_text(rule.name)} THEN {_text(rule.reason)}" for rule in suite.quarantine)
    return f"CASE {rules} END", f"CASE rule {reasons} END"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
