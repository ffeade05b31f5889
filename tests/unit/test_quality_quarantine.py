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


def strict(text: str) -> Any:
    """Parse JSON as the standard has it: Python's parser also takes NaN and Infinity."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_row_with_nan_and_infinity_is_json() -> None:
    """C39: what is not finite is kept as text."""
    _, rejected = split(
        [{"name": "all", "when": "true", "reason": "why not"}], rate=[float("nan"), float("inf"), float("-inf")]
    )
    assert sorted(strict(row[3])["rate"] for row in rejected) == ["-Infinity", "Infinity", "NaN"]


@pytest.mark.parametrize(
    ("sql", "kept"),
    [
        ("[1.5, 'nan'::DOUBLE]", "[1.5, nan]"),
        ("{'a': 'inf'::FLOAT, 'b': 'Infinity'}", "{'a': inf, 'b': Infinity}"),
        ("[1.5, NULL]", [1.5, None]),
        ("'nan'::DOUBLE", "NaN"),
        ("0.1::FLOAT", 0.10000000149011612),
        ("NULL::DOUBLE", None),
        ("'NaN'", "NaN"),
    ],
)
def test_nested_and_other_values_are_json(sql: str, kept: Any) -> None:
    """C39: lists and structs with NaN inside are kept as DuckDB's text; the rest as before."""
    query = f"SELECT '2013-01-01' AS ds, 1::BIGINT AS id, 'UA' AS carrier, 2.0::DOUBLE AS rate, {sql} AS extra"
    with duckdb.connect() as con:
        _, rejected = split_quarantine(con, query, suite(quarantine=RULES))
        (row,) = con.sql(rejected).fetchall()
        before = con.execute(f"SELECT to_json(t)::VARCHAR FROM ({query}) AS t").fetchone()
    assert strict(row[3])["extra"] == kept
    assert "NaN" in str(before) or "nfinity" in str(before) or (row[3],) == before


def test_rule_may_end_in_a_comment() -> None:
    """C32: the query around a rule goes on after the rule's own comment."""
    rules = [{"name": "too_fast", "when": "rate > 1 -- faster than any wind", "reason": "nobody's wind"}]
    clean, rejected = split(rules, rate=[0.1, 2.0, 3.0])
    assert (len(clean), len(rejected)) == (1, 2)


def test_columns_may_be_called_as_the_rows() -> None:
    """C34: a column ``t``, ``row`` or ``kept`` is a column like others."""
    names = ("t", "row", "kept", "row_", "judged", "table")
    more = {name: [1, 2, 3] for name in names}
    clean, rejected = split(RULES, rate=[0.1, 2.0, 0.2], **more)
    assert [row[1] for row in clean] == [1, 3]
    assert {name: json.loads(rejected[0][3])[name] for name in names} == dict.fromkeys(names, 2)
