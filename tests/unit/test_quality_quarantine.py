"""Quarantine: every row goes to exactly one side, with the rule that sent it there."""

from __future__ import annotations

import json
from typing import Any

import duckdb
import pytest

from include.core.errors import AuditFailed
from include.quality.quarantine import split_quarantine
from tests.unit.quality_case import rows, suite

RULES = [
    {"name": "too_fast", "when": "rate > 1", "reason": "nobody's wind"},
    {
        "name": "repeated",
        "when": "row_number() OVER (PARTITION BY id ORDER BY carrier) = 2",
        "reason": "seen",
    },
]


def split(rules: list[dict[str, str]], **changes: list[Any]) -> tuple[list[Any], list[Any]]:
    """Both sides' rows of the three rows with some columns replaced."""
    with duckdb.connect() as con:
        con.register("landed", rows(**changes))
        clean, rejected = split_quarantine(con, "SELECT * FROM landed", suite(quarantine=rules))
        return con.sql(clean).order("id").fetchall(), con.sql(rejected).order("ds, rule").fetchall()


def test_rows_are_shared_out_and_the_first_rule_is_named() -> None:
    clean, rejected = split(RULES, id=[1, 1, 3], carrier=["A", "B", "<b>'"], rate=[0.1, 2.0, 3.0])
    assert clean == [("2013-01-01", 1, "A", 0.1)]
    assert [row[:3] for row in rejected] == [
        ("2013-01-01", "too_fast", "nobody's wind"),
        ("2013-01-02", "too_fast", "nobody's wind"),
    ]
    assert json.loads(rejected[1][3]) == {"ds": "2013-01-02", "id": 3, "carrier": "<b>'", "rate": 3.0}


def test_predicate_may_look_at_other_rows() -> None:
    clean, rejected = split(RULES, id=[1, 1, 3])
    assert [row[1] for row in clean] == [1, 3]
    assert [row[1] for row in rejected] == ["repeated"]


def test_unknown_keeps_the_row() -> None:
    clean, rejected = split(RULES, rate=[None, None, 0.5])
    assert (len(clean), rejected) == (3, [])


def test_no_rules_reject_nothing() -> None:
    clean, rejected = split([])
    assert (len(clean), rejected) == (3, [])


def test_missing_column_is_named_and_nothing_is_split() -> None:
    with duckdb.connect() as con:
        con.register("landed", rows().drop_columns(["rate"]))
        with pytest.raises(AuditFailed, match="tiny: column rate is missing; DOUBLE was promised"):
            split_quarantine(con, "SELECT * FROM landed", suite(quarantine=RULES))
