"""Audits of three rows: each severity, each kind of fault, and what the report says about it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from include.core.errors import AuditEngineError, AuditFailed
from include.quality import expectations
from include.quality.audit import audit
from include.quality.report import AuditReport
from tests.unit.quality_case import KEYS, place, rows, rule, suite

BETWEEN = "expect_column_values_to_be_between"
ROWS = "unexpected_rows_expectation"


def run(tmp_path: Path, table: pa.Table, **changes: Any) -> AuditReport:
    return audit(suite(**changes), table, KEYS, place(tmp_path))


def failed(report: AuditReport) -> list[tuple[str, str]]:
    return [(result.type, result.subject) for result in report.failures]


def test_good_rows_pass_and_every_check_is_counted(tmp_path: Path) -> None:
    report = run(tmp_path, rows(), expectations=[rule(BETWEEN, column="rate", min_value=0, max_value=1)])
    # four columns, key not null, key unique, rows of known partitions, no empty partition, the rule
    assert (report.verdict, report.checked, report.rows) == ("passed", 9, 3)
    report.raise_for_verdict("/stage")


def test_critical_failure_stops_and_names_rule_partition_stage_and_report(tmp_path: Path) -> None:
    report = run(tmp_path, rows(rate=[0.1, 0.2, 1.5]), expectations=[rule(BETWEEN, column="rate", max_value=1)])
    (failure,) = report.failures
    assert report.verdict == "failed"
    assert (failure.unexpected, dict(failure.partitions)) == (1, {"2013-01-02": 1})
    assert failure.examples == ({"ds": "2013-01-02", "id": "3", "rate": "1.5"},)
    with pytest.raises(AuditFailed) as error:
        report.raise_for_verdict("/lake/_stages/7")
    for part in (BETWEEN, "rate", "the test says so", "2013-01-02", "/lake/_stages/7", report.docs):
        assert part in str(error.value)
    assert "2013-01-01" not in str(error.value)


def test_warning_is_published_and_reported(tmp_path: Path) -> None:
    expectations = [rule(BETWEEN, severity="warning", column="rate", max_value=0.25)]
    report = run(tmp_path, rows(), expectations=expectations)
    assert (report.verdict, len(report.warnings)) == ("warned", 1)
    report.raise_for_verdict("/stage")


@pytest.mark.parametrize(
    ("carriers", "unexpected"), [(["UA", "AA", "B6"], 0), (["UA", "ua", "xUAx"], 2), (["UA", None, "B6"], 0)]
)
def test_regular_expressions_run(tmp_path: Path, carriers: list[str | None], unexpected: int) -> None:
    expectations = [rule("expect_column_values_to_match_regex", column="carrier", regex="^[A-Z0-9]{2}$")]
    report = run(tmp_path, rows(carrier=carriers), expectations=expectations)
    assert report.results[-1].unexpected == unexpected
    assert report.results[-1].success is (unexpected == 0)


def test_regular_expressions_search_anywhere_as_the_library_promises(tmp_path: Path) -> None:
    expectations = [
        rule("expect_column_values_to_match_regex", column="carrier", regex="A"),
        rule("expect_column_values_to_not_match_regex", column="carrier", regex="6"),
    ]
    match, not_match = run(tmp_path, rows(), expectations=expectations).results[-2:]
    assert (match.examples[0]["carrier"], match.unexpected) == ("B6", 1)
    assert (not_match.examples[0]["carrier"], not_match.unexpected) == ("B6", 1)


def test_missing_column_is_found_before_anything_reads_it(tmp_path: Path) -> None:
    table = rows().drop_columns(["rate"])
    report = run(tmp_path, table, expectations=[rule(BETWEEN, column="rate", max_value=1)])
    assert failed(report) == [("expect_column_to_exist", "rate")]
    assert "column rate is missing; DOUBLE was promised" in str(report.failures[0])
    assert "column rate is missing" in Path(report.docs).read_text()


def test_wrong_type_is_found_before_anything_reads_it(tmp_path: Path) -> None:
    report = run(tmp_path, rows(rate=["a", "b", "c"]), expectations=[rule(BETWEEN, column="rate", max_value=1)])
    assert failed(report) == [("expect_column_values_to_be_of_type", "rate")]
    assert "column rate is VARCHAR, not DOUBLE" in report.failures[0].why


def test_other_columns_are_refused_only_where_the_suite_says_so(tmp_path: Path) -> None:
    table = rows(tailnum=["N1", "N2", "N3"])
    assert run(tmp_path, table).verdict == "passed"
    report = run(tmp_path, table, other_columns="refused")
    assert "tailnum (VARCHAR) is not in the suite" in report.failures[0].why


def test_duplicate_and_null_keys_fail(tmp_path: Path) -> None:
    report = run(tmp_path, rows(id=[1, 1, None]))
    assert failed(report) == [
        ("expect_column_values_to_not_be_null", "id"),
        (ROWS, ""),
    ]
    assert report.failures[1].examples == ({"ds": "2013-01-01", "id": "1", "copies": "2"},)


def test_compound_key(tmp_path: Path) -> None:
    table = rows(id=[1, 1, 1], carrier=["UA", "UA", "UA"])
    report = run(tmp_path, table, key=["ds", "id", "carrier"])
    (failure,) = report.failures
    assert "the key (ds, id, carrier) names one row" in str(failure)
    assert dict(failure.partitions) == {"2013-01-01": 1}


def test_null_may_be_part_of_a_key_that_says_so(tmp_path: Path) -> None:
    key = {"key": ["id", "carrier"], "null_in_key": ["carrier"]}
    assert run(tmp_path, rows(carrier=["UA", None, None]), **key).verdict == "passed"
    twice = run(tmp_path, rows(id=[2, 2, 3], carrier=[None, None, "UA"]), **key)
    assert "the key (id, carrier) names one row" in str(twice.failures[0])


def test_empty_partition_fails_and_is_named(tmp_path: Path) -> None:
    report = audit(suite(), rows(), [*KEYS, "2013-01-03"], place(tmp_path))
    assert report.failing_partitions == ("2013-01-03",)
    assert "no partition is empty" in str(report.failures[0])


def test_first_partition_may_be_empty_when_the_suite_says_so(tmp_path: Path) -> None:
    excused = suite(may_be_empty_on=["first"])
    at = place(tmp_path, first_partition="2012-12-31")
    assert audit(excused, rows(), ["2012-12-31", *KEYS], at).verdict == "passed"
    assert audit(excused, rows(), ["2012-12-30", *KEYS], at).failing_partitions == ("2012-12-30",)


def test_any_partition_may_be_empty_where_the_suite_says_so(tmp_path: Path) -> None:
    assert audit(suite(may_be_empty=True), rows(), [*KEYS, "2013-01-03"], place(tmp_path)).verdict == "passed"
    assert audit(suite(may_be_empty=True), [], KEYS, place(tmp_path)).verdict == "passed"


def test_nothing_staged_at_all(tmp_path: Path) -> None:
    assert audit(suite(), [], KEYS, place(tmp_path)).failing_partitions == KEYS
    excused = suite(may_be_empty_on=[KEYS[0]])
    assert audit(excused, [], KEYS[:1], place(tmp_path)).verdict == "passed"


def test_rows_of_a_partition_that_was_not_asked_for_fail(tmp_path: Path) -> None:
    report = audit(suite(), rows(), KEYS[:1], place(tmp_path))
    assert report.failing_partitions == ("2013-01-02",)


def test_partition_sizes(tmp_path: Path) -> None:
    bounds = [{"min": 2, "max": 5, "severity": "warning", "why": "a day has two flights"}]
    report = run(tmp_path, rows(), rows_per_partition=bounds)
    (warning,) = report.warnings
    assert (warning.examples, dict(warning.partitions)) == (
        ({"ds": "2013-01-02", "rows": "1"},),
        {"2013-01-02": 1},
    )


def test_sql_rule_joins_a_view_of_another_table(tmp_path: Path) -> None:
    query = "SELECT ds, carrier FROM {batch} WHERE carrier NOT IN (SELECT carrier FROM airlines)"
    joined = suite(reads=["airlines"], expectations=[rule(ROWS, "warning", unexpected_rows_query=query)])
    views = {"airlines": pa.table({"carrier": ["UA", "AA"]})}
    report = audit(joined, rows(), KEYS, place(tmp_path), views)
    assert report.warnings[0].examples == ({"ds": "2013-01-02", "carrier": "B6"},)
    with pytest.raises(ValueError, match="reads airlines; pass them in `views`"):
        audit(joined, rows(), KEYS, place(tmp_path))


def test_engine_error_is_not_a_finding(tmp_path: Path) -> None:
    query = "SELECT ds FROM {batch} WHERE error('the disk is full') IS NULL"
    with pytest.raises(AuditEngineError) as error:
        run(tmp_path, rows(), expectations=[rule(ROWS, unexpected_rows_query=query)])
    assert "1 expectations could not be evaluated" in str(error.value)
    assert "the disk is full" in str(error.value)
    assert not (tmp_path / "data_docs").exists()


def test_files_datasets_and_relations_are_the_same_rows(tmp_path: Path) -> None:
    pq.write_to_dataset(rows(), tmp_path / "stage", partition_cols=["ds"])
    files = sorted((tmp_path / "stage").rglob("*.parquet"))
    hive = pads.partitioning(pa.schema([("ds", pa.string())]), flavor="hive")
    dataset = pads.dataset(files, partitioning=hive)
    plain = tmp_path / "plain.parquet"
    pq.write_table(rows(), plain)
    for source in (files, dataset, [plain], rows()):
        assert audit(suite(), source, KEYS, place(tmp_path)).verdict == "passed"
    with duckdb.connect() as con:
        con.register("mine", rows())
        assert audit(suite(), "mine", KEYS, place(tmp_path), connection=con).verdict == "passed"
        assert con.sql("SHOW TABLES").fetchall() == [("mine",)]


def test_dictionary_encoded_partition_column_is_text(tmp_path: Path) -> None:
    table = rows()
    encoded = table.set_column(0, "ds", table.column("ds").dictionary_encode())
    assert audit(suite(), encoded, KEYS, place(tmp_path)).verdict == "passed"


def test_report_is_kept_as_json_beside_the_page(tmp_path: Path) -> None:
    report = run(tmp_path, rows())
    page = tmp_path / "data_docs/flights/tiny/run-1/index.html"
    assert report.docs == str(page)
    kept = json.loads(page.with_name("report.json").read_text())
    assert (kept["verdict"], kept["checked"], kept["failed"]) == ("passed", report.checked, 0)
    assert sorted(path.name for path in page.parent.iterdir()) == ["index.html", "report.json"]


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "manual__2013-01-01T00:00:00+00:00"])
def test_run_names_cannot_leave_the_reports_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no folder name"):
        audit(suite(), rows(), KEYS, place(tmp_path, run=name))


def test_hostile_values_are_shown_as_text(tmp_path: Path) -> None:
    hostile = ["<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "{{ 7 * 7 }} $styling </td>"]
    expectations = [
        rule("expect_column_values_to_be_in_set", column="carrier", value_set=["<b>UA</b>"]),
        rule("expect_column_distinct_values_to_be_in_set", column="carrier", value_set=["<i>AA</i>"]),
        rule("expect_column_values_to_match_regex", column="carrier", regex="^<a href=x>$"),
        rule(ROWS, unexpected_rows_query="SELECT ds, carrier AS \"<em>\" FROM {batch} WHERE carrier <> '<s>'"),
    ]
    page = Path(run(tmp_path, rows(carrier=hostile), expectations=expectations).docs).read_text()
    for tag in ("<script", "<img", "<b>UA", "<i>AA", "<a href=x", "<em>", "<s>", "{{ 49", ">49<"):
        assert tag not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_page_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    page = Path(run(tmp_path, rows()).docs).read_text()
    assert "http://" not in page
    assert "https://" not in page
    assert "default-src 'none'" in page


def test_nothing_is_printed_or_written_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    run(tmp_path, rows(rate=[9.0, 9.0, 9.0]), expectations=[rule(BETWEEN, column="rate", max_value=1)])
    assert list(folder.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert os.environ["GX_ANALYTICS_ENABLED"] == "false"


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (r"carrier = 'a\:b'", {"1"}),  # C13
        (r"carrier = 'a:b'", {"2"}),
        ("regexp_matches(carrier, '^[A-Z]{2}$')", {"3"}),
        ("regexp_matches(carrier, '^(?:UA|AA)$')", {"3"}),
        ("carrier[:1] = 'U'", {"3"}),
        ("carrier LIKE '%b' -- ends in b", {"1", "2"}),
        ("carrier = '{' || '}' OR carrier = 'UA';\n", {"3"}),
        ("id::VARCHAR = '1'", {"1"}),
    ],
)
def test_queries_run_as_duckdb_runs_them(tmp_path: Path, where: str, found: set[str]) -> None:
    """C13, C32: braces, colons, backslashes and comments in a query are DuckDB's."""
    query = rule(ROWS, unexpected_rows_query=f"SELECT ds, id FROM {{batch}} WHERE {where}")
    assert expectations.faults(suite(expectations=[query])) == []
    report = run(tmp_path, rows(carrier=["a\\:b", "a:b", "UA"]), expectations=[query])
    assert {row["id"] for row in report.failures[0].examples} == found
    assert "Unexpected rows query" in Path(report.docs).read_text()


@pytest.mark.parametrize("regex", ["^[A-Z]{2}$", "^(?:UA|AA|B6)$", "^[^:]+$"])
def test_patterns_run_as_duckdb_runs_them(tmp_path: Path, regex: str) -> None:
    """C32: so they are in a regular expression."""
    expectations = [rule("expect_column_values_to_match_regex", column="carrier", regex=regex)]
    assert run(tmp_path, rows(carrier=["UA", "AA", "AA"]), expectations=expectations).failures == ()


def test_backslash_before_a_colon_stays(tmp_path: Path) -> None:
    r"""C13: the text ``a\:b`` is not ``a:b``."""
    query = r"SELECT ds, id FROM {batch} WHERE carrier = 'a\:b'"
    expectations = [rule(ROWS, unexpected_rows_query=query)]
    assert run(tmp_path, rows(carrier=["a\\:b", "x", "y"]), expectations=expectations).verdict == "failed"
    assert run(tmp_path, rows(carrier=["a:b", "x", "y"]), expectations=expectations).verdict == "passed"
