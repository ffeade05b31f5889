"""One verdict a partition: that of a span equals those of its days."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from include.core.engine import kept_open
from include.quality.audit import audit
from include.quality.report import AuditReport
from tests.unit.quality_case import place, rule, suite

DAYS = ("2013-01-01", "2013-01-02", "2013-01-03")
ROWS = "unexpected_rows_expectation"


def table(*days: list[float | None]) -> pa.Table:
    """Rates of each day; ids count up from 0 in every day."""
    listed = [(key, n, "UA", value) for key, rates in zip(DAYS, days, strict=False) for n, value in enumerate(rates)]
    names = ["ds", "id", "carrier", "rate"]
    types = [pa.string(), pa.int64(), pa.string(), pa.float64()]
    columns = list(zip(*listed, strict=True)) or [()] * 4
    return pa.table({name: pa.array(c, t) for name, c, t in zip(names, columns, types, strict=True)})


def verdicts(tmp_path: Path, rows: pa.Table, days: int, **changes: Any) -> tuple[AuditReport, list[bool]]:
    """Return the audit of the span, and of each day alone whether it passed."""
    asked = suite(**{"key": ["ds", "id"]} | changes)
    span = audit(asked, rows, DAYS[:days], place(tmp_path))
    alone = [
        audit(asked, rows.filter(pc.equal(rows.column("ds"), key)), [key], place(tmp_path)).verdict == "passed"
        for key in DAYS[:days]
    ]
    return span, alone


def test_few_missing_rows_of_a_span_may_be_all_rows_of_a_day(tmp_path: Path) -> None:
    """C04: 97 good rows on one day do not excuse three empty ones on the next."""
    rules = [rule("expect_column_values_to_not_be_null", column="rate", mostly=0.95)]
    span, alone = verdicts(tmp_path, table([0.5] * 97, [None] * 3), 2, expectations=rules)
    assert alone == [True, False]
    assert (span.verdict, span.failing_partitions) == ("failed", (DAYS[1],))
    assert dict(span.failures[0].partitions) == {DAYS[1]: 3}
    assert {row["ds"] for row in span.failures[0].examples} == {DAYS[1]}


def test_a_key_names_one_row_of_its_partition(tmp_path: Path) -> None:
    """C04: a key that returns on the next day is no copy."""
    span, alone = verdicts(tmp_path, table([0.1], [0.2]), 2, key=["id"])
    assert (span.verdict, alone) == ("passed", [True, True])


CASES: list[tuple[str, dict[str, Any]]] = [
    ("expect_table_row_count_to_be_between", {"min_value": 2, "max_value": 3}),
    ("expect_table_row_count_to_equal", {"value": 2}),
    ("expect_column_unique_value_count_to_be_between", {"column": "rate", "max_value": 2}),
    ("expect_column_proportion_of_unique_values_to_be_between", {"column": "rate", "min_value": 0.6}),
    ("expect_column_proportion_of_non_null_values_to_be_between", {"column": "rate", "min_value": 0.6}),
    ("expect_column_values_to_be_unique", {"column": "rate"}),
    ("expect_column_values_to_be_unique", {"column": "rate", "mostly": 0.5}),
    ("expect_compound_columns_to_be_unique", {"column_list": ["carrier", "rate"]}),
    ("expect_column_mean_to_be_between", {"column": "rate", "min_value": 0.2, "max_value": 0.6}),
    ("expect_column_median_to_be_between", {"column": "rate", "min_value": 0.2, "max_value": 0.6}),
    ("expect_column_min_to_be_between", {"column": "rate", "max_value": 0.3}),
    ("expect_column_max_to_be_between", {"column": "rate", "min_value": 0.3}),
    ("expect_column_sum_to_be_between", {"column": "rate", "min_value": 0.3, "max_value": 1.5}),
    ("expect_column_stdev_to_be_between", {"column": "rate", "max_value": 0.3}),
    ("expect_column_distinct_values_to_contain_set", {"column": "rate", "value_set": [0.5]}),
    ("expect_column_distinct_values_to_equal_set", {"column": "rate", "value_set": [0.1, 0.5]}),
    ("expect_column_most_common_value_to_be_in_set", {"column": "rate", "value_set": [0.1, 0.5]}),
    ("expect_column_values_to_not_be_null", {"column": "rate", "mostly": 0.6}),
    ("expect_column_values_to_be_between", {"column": "rate", "max_value": 0.5, "mostly": 0.6}),
    ("expect_column_values_to_be_in_set", {"column": "rate", "value_set": [0.1], "mostly": 0.4}),
    ("expect_column_values_to_be_in_set", {"column": "rate", "value_set": [0.1, 0.5]}),
    ("expect_column_pair_values_a_to_be_greater_than_b", {"column_A": "id", "column_B": "rate", "mostly": 0.6}),
    (ROWS, {"unexpected_rows_query": "SELECT 1 FROM {batch} HAVING count(*) > 2"}),
    (ROWS, {"unexpected_rows_query": "SELECT ds FROM {batch} WHERE rate > 0.5"}),
    (ROWS, {"unexpected_rows_query": "SELECT rate FROM {batch} GROUP BY rate HAVING count(*) > 1"}),
    (ROWS, {"unexpected_rows_query": "SELECT ds, rate FROM {batch} GROUP BY ds, rate HAVING count(*) > 1"}),
    (ROWS, {"unexpected_rows_query": "SELECT a.ds FROM {batch} a JOIN {batch} b ON a.id = b.id WHERE a.rate < b.rate"}),
    (ROWS, {"unexpected_rows_query": "SELECT ds FROM {batch} WHERE rate > 2 * (SELECT avg(rate) FROM {batch})"}),
    (ROWS, {"unexpected_rows_query": "SELECT ds FROM {batch} QUALIFY row_number() OVER (ORDER BY id, ds) > 2"}),
    (ROWS, {"unexpected_rows_query": "WITH b AS (FROM {batch}) SELECT count(*) AS n FROM b HAVING n > 2"}),
    (ROWS, {"unexpected_rows_query": "SELECT ds FROM audited_partitions WHERE ds NOT IN (SELECT ds FROM {batch})"}),
    (ROWS, {"unexpected_rows_query": "SELECT ds FROM {batch} ORDER BY ds, id LIMIT 3 OFFSET 2"}),
]

rates = st.lists(st.sampled_from([None, 0.1, 0.5, 0.9, float("nan"), float("inf")]), max_size=5)


@given(days=st.lists(rates, min_size=2, max_size=3))
@example(days=[[0.1] * 5, [None, 0.9], []])
@settings(
    max_examples=3,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_verdict_of_a_span_is_that_of_its_days(tmp_path: Path, days: list[list[float | None]]) -> None:
    """C04: whatever is checked, the span fails where its days fail alone, and names exactly those."""
    rules = [rule(type_name, **kwargs) for type_name, kwargs in CASES]
    asked = suite(key=["ds", "id"], may_be_empty_on=list(DAYS), expectations=rules)
    rows, keys = table(*days), DAYS[: len(days)]
    with kept_open():
        span = audit(asked, rows, keys, place(tmp_path))
        alone = {
            key: audit(asked, rows.filter(pc.equal(rows.column("ds"), key)), [key], place(tmp_path)) for key in keys
        }
    for position, result in enumerate(span.results):
        failing = {key for key, day in alone.items() if not day.results[position].success}
        assert (set(result.partitions), result.success) == (failing, not failing), result
    assert span.verdicts == {key: day.verdict for key, day in alone.items()}


@pytest.mark.parametrize("how", ["table", "files"])
def test_tables_that_a_suite_reads_are_narrowed_too(tmp_path: Path, how: str) -> None:
    """C04: a rule over a partition sees that partition of the other tables of this load, and reference tables whole."""
    rows = table([0.1, 0.2], [0.3, 0.4])
    twin = pa.table({"ds": [DAYS[0], DAYS[0], DAYS[1]], "id": [0, 1, 5]})
    whole = pa.table({"ds": ["reference"], "id": [0]})
    views: dict[str, Any] = {"twin": twin, "whole": whole}
    if how == "files":
        for name, held in views.items():
            pq.write_to_dataset(held, tmp_path / name, partition_cols=["ds"])
        views = {name: sorted((tmp_path / name).rglob("*.parquet")) for name in views}
    query = "SELECT ds, id FROM {batch} WHERE id NOT IN (SELECT id FROM twin UNION SELECT id FROM whole)"
    asked = suite(key=["ds", "id"], reads=["twin", "whole"], expectations=[rule(ROWS, unexpected_rows_query=query)])
    report = audit(asked, rows, DAYS[:2], place(tmp_path), views)
    assert dict(report.failures[0].partitions) == {DAYS[1]: 1}


def test_every_partition_has_a_verdict(tmp_path: Path) -> None:
    """C04: a report tells the verdict of each partition, warnings included."""
    rules = [
        rule("expect_column_max_to_be_between", "warning", column="rate", max_value=0.5),
        rule("expect_column_min_to_be_between", column="rate", min_value=0.2),
    ]
    span, _ = verdicts(tmp_path, table([0.3], [0.9], [0.1]), 3, expectations=rules)
    assert dict(span.verdicts) == dict(zip(DAYS, ("passed", "warned", "failed"), strict=True))
