"""Suites: every fault at once with its field and the nearest name, and no rule that cannot run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from include.core.errors import SpecError
from include.quality import expectations, gx_private
from include.quality.audit import audit
from include.quality.suites import load_suite, load_suites
from tests.unit.quality_case import KEYS, place, rows, rule, suite

GOOD: dict[str, Any] = {
    "table": "tiny",
    "key": ["id"],
    "columns": {"ds": "VARCHAR", "id": "BIGINT", "carrier": "VARCHAR", "rate": "DOUBLE"},
}


def faults(tmp_path: Path, **changes: Any) -> list[str]:
    """Return the faults that loading the good suite with some changes reports."""
    path = tmp_path / "suites" / "tiny.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(GOOD | changes))
    with pytest.raises(SpecError) as error:
        load_suite(path)
    return error.value.faults


def test_suite_with_the_least_that_one_needs(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    assert load_suite(path) == suite()
    assert set(load_suites(tmp_path)) == {"tiny"}


def test_every_fault_of_the_values_at_once(tmp_path: Path) -> None:
    found = faults(
        tmp_path,
        key=[],
        colums={},
        quarantine=[{"name": "Bad Name", "wehn": "true", "reason": ""}],
        expectations=[{"type": "x", "severity": "fatal", "why": "y"}],
    )
    text = "\n".join(found)
    assert 'suites/tiny.yaml: colums: unknown field; did you mean "columns"?' in found
    assert 'suites/tiny.yaml: quarantine[0].wehn: unknown field; did you mean "when"?' in found
    assert "suites/tiny.yaml: quarantine[0].when: is missing" in found
    for field in ("key", "quarantine[0].name", "quarantine[0].reason", "expectations[0].severity"):
        assert f"suites/tiny.yaml: {field}: " in text


def test_every_fault_of_the_expectations_at_once(tmp_path: Path) -> None:
    found = faults(
        tmp_path,
        expectations=[
            rule("expect_column_values_to_be_betwen", column="rate"),
            rule("expect_column_values_to_be_between", colunm="rate", column="rate", min_value=0),
            rule("expect_column_values_to_be_between", column="rtae", min_value=0),
            rule("expect_column_values_to_not_be_null", column="rate", mostly=7),
            rule(expectations.SQL_RULE, unexpected_rows_query="SELECT 1 WHERE false"),
            rule("expect_column_values_to_match_regex", column="carrier", regex="(?<=U)A"),
            rule("unexpected_rows_expectation", unexpected_rows_query="SELECT ds FROM {batch} WHERE rtae > 1"),
        ],
        quarantine=[{"name": "bad", "when": "carrierr IS NULL", "reason": "no carrier"}],
    )
    text = "\n".join(found)
    assert 'expectations[0].type: "expect_column_values_to_be_betwen" is no expectation; did you mean' in text
    assert 'expectations[1].kwargs.colunm: unknown argument; did you mean "column"?' in text
    assert 'expectations[2].kwargs.column: column "rtae" is not under `columns`; did you mean "rate"?' in text
    assert "expectations[3].kwargs.mostly: " in text
    assert "expectations[4].kwargs.unexpected_rows_query: does not read {batch}" in text
    assert "expectations[5].kwargs.regex: " in text
    assert "expectations[6].kwargs.unexpected_rows_query: " in text
    assert "quarantine[0].when: " in text
    assert all(fault.startswith("suites/tiny.yaml: ") for fault in found)


def test_unknown_type_of_a_column(tmp_path: Path) -> None:
    columns = GOOD["columns"] | {"rate": "DUOBLE"}
    assert faults(tmp_path, columns=columns) == [
        'suites/tiny.yaml: columns.rate: "DUOBLE" is no DuckDB type; did you mean "DOUBLE"?'
    ]


def test_key_and_partition_column_must_be_declared(tmp_path: Path) -> None:
    found = faults(tmp_path, columns={"id": "BIGINT"}, key=["idd"])
    assert 'suites/tiny.yaml: key: column "idd" is not under `columns`; did you mean "id"?' in found
    assert 'suites/tiny.yaml: columns: column "ds" is not under `columns`; known are id' in found


def test_table_is_called_as_its_file(tmp_path: Path) -> None:
    assert "call the file other.yaml" in faults(tmp_path, table="other")[0]


@pytest.mark.parametrize("text", ["a: [", "- 1", "", "\x00"])
def test_file_that_is_no_suite(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match=r"not readable as YAML|holds no fields"):
        load_suite(path)


def test_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "outcomes.yaml").write_text("")
    with pytest.raises(SpecError, match='no such suite; did you mean "outcomes"'):
        load_suite(tmp_path / "outcome.yaml")


@pytest.mark.parametrize("name", sorted(expectations.REFUSED))
def test_what_cannot_run_is_refused_by_name(tmp_path: Path, name: str) -> None:
    (fault,) = faults(tmp_path, expectations=[{"type": name, "severity": "critical", "why": "y"}])
    assert f'"{name}" cannot be used here: {expectations.REFUSED[name]}' in fault


ARGUMENTS: dict[str, Any] = {
    "column": "rate",
    "column_A": "id",
    "column_B": "rate",
    "column_list": ["id", "rate"],
    "column_set": ["ds"],
    "column_index": 0,
    "min_value": 0,
    "max_value": 1,
    "value": 3,
    "value_set": [0.1],
    "value_pairs_set": [(1, 2)],
    "sum_total": 1,
    "threshold": 3,
    "double_sided": True,
    "mostly": 0.5,
    "regex": "A",
    "regex_list": ["A"],
    "like_pattern": "A%",
    "like_pattern_list": ["A%"],
    "other_table_name": "audited_partitions",
    "quantile_ranges": {"quantiles": [0.5], "value_ranges": [[0, 1]]},
    "unexpected_rows_query": "SELECT ds FROM {batch} WHERE rate > 1",
}


def test_everything_that_is_not_refused_runs_over_duckdb(tmp_path: Path) -> None:
    rules = []
    for name in sorted(set(gx_private.known_types()) - set(expectations.REFUSED)):
        kwargs = {key: ARGUMENTS[key] for key in gx_private.arguments(name) & set(ARGUMENTS)}
        if any(word in name for word in ("regex", "like", "length")):
            kwargs["column"] = "carrier"
        rules.append(rule(name, "warning", **kwargs))
    everything = suite(expectations=rules)
    assert expectations.faults(everything) == []
    report = audit(everything, rows(), KEYS, place(tmp_path))
    assert len(rules) >= 38
    assert report.checked == 8 + len(rules)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT ds FROM {batch}; SELECT 1",
        "SELECT ds FROM {batch}; -- done",
        "SELECT ds FROM {batch} WHERE carrier = ?",
        "SELECT ds FROM {batch} WHERE carrier = :who",
        "SELECT ds FROM {batch} /* open",
        "SELECT ds FROM {batch} WHERE regexp_matches(carrier, '(?<=U)A')",
        "DELETE FROM {batch}",
        7,
    ],
)
def test_query_that_cannot_run_is_refused(tmp_path: Path, query: Any) -> None:
    """C32: the fault names file and field when the suite loads."""
    (fault,) = faults(tmp_path, expectations=[rule(expectations.SQL_RULE, unexpected_rows_query=query)])
    assert fault.startswith("suites/tiny.yaml: expectations[0].kwargs.unexpected_rows_query: ")


@pytest.mark.parametrize(
    "when", ["rate > 1 /* open", "rate > 1; SELECT 1", "rate > 1 AS x", "carrier = ?", "rate > 1)"]
)
def test_quarantine_rule_that_cannot_run_is_refused(tmp_path: Path, when: str) -> None:
    """C32: so it is with a quarantine rule."""
    (fault,) = faults(tmp_path, quarantine=[{"name": "bad", "when": when, "reason": "why not"}])
    assert fault.startswith("suites/tiny.yaml: quarantine[0].when: ")


def test_comments_and_braces_load(tmp_path: Path) -> None:
    """C32: these run, so they load."""
    path = tmp_path / "tiny.yaml"
    query = "SELECT ds FROM {batch} WHERE regexp_matches(carrier, '[A-Z]{2}') -- two letters"
    rules = [{"name": "fast", "when": "rate > 1 -- faster", "reason": "why not"}]
    path.write_text(
        yaml.safe_dump(
            GOOD | {"expectations": [rule(expectations.SQL_RULE, unexpected_rows_query=query)], "quarantine": rules}
        )
    )
    assert len(load_suite(path).expectations) == 1


def test_columns_of_other_tables_are_checked_by_their_suites(tmp_path: Path) -> None:
    """C32: a query that joins another table is bound to that table's columns, too."""
    other = {"table": "airlines", "key": ["code"], "columns": {"ds": "VARCHAR", "code": "VARCHAR"}}
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "airlines.yaml").write_text(yaml.safe_dump(other))
    query = "SELECT ds FROM {batch} WHERE carrier NOT IN (SELECT cod FROM airlines)"
    (fault,) = faults(
        tmp_path, reads=["airlines"], expectations=[rule(expectations.SQL_RULE, unexpected_rows_query=query)]
    )
    assert '"cod" not found' in fault
    (fault,) = faults(tmp_path, reads=["staged"])
    assert "is a name of the audit" in fault


FORM = "table: tiny\nkey: [id]\ncolumns: {ds: VARCHAR, id: BIGINT, carrier: VARCHAR}\nexpectations:\n"
IN_SET = """  - {type: expect_column_values_to_be_in_set, severity: critical, why: x,
    kwargs: {column: carrier, value_set: %s}}
"""


def test_country_codes_are_text(tmp_path: Path) -> None:
    """C08: NO is Norway."""
    path = tmp_path / "tiny.yaml"
    path.write_text(FORM + IN_SET % "[NO, SE]")
    assert load_suite(path).expectations[0].kwargs["value_set"] == ["NO", "SE"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (FORM + IN_SET % "[010, 011]", ("line 6", "quote it")),
        (FORM + "  []\nexpectations: []\n", ("line 6", "expectations is given twice")),
    ],
)
def test_unclear_numbers_and_repeated_keys_are_refused(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    """C08: with file and line, so that no value changes and no check is dropped."""
    path = tmp_path / "tiny.yaml"
    path.write_text(text)
    with pytest.raises(SpecError) as error:
        load_suite(path)
    for word in ("tiny.yaml", *words):
        assert word in str(error.value)


@pytest.mark.parametrize("key", ["first", "2013-11-02", "2013-11-02T05Z", "2013-W44", "2013-11"])
def test_a_period_of_any_kind_may_be_empty(key: str, tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(GOOD | {"may_be_empty_on": [key]}))
    assert load_suite(path).empty_keys("2013-01-01") == {"2013-01-01" if key == "first" else key}
