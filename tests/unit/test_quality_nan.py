"""NaN and infinity: missing for null and key checks, outside of every range."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from include.quality.audit import audit
from include.quality.report import ExpectationResult
from tests.unit.quality_case import KEYS, place, rows, rule, suite

NAN, INF = float("nan"), float("inf")
NOT_NULL = "expect_column_values_to_not_be_null"


def check(tmp_path: Path, values: list[float | None], type_name: str, **kwargs: Any) -> ExpectationResult:
    """Return the result of one rule over three rates."""
    asked = suite(expectations=[rule(type_name, **{"column": "rate"} | kwargs)])
    return audit(asked, rows(rate=values), KEYS, place(tmp_path)).results[-1]


@pytest.mark.parametrize(
    ("values", "kwargs", "success"),
    [
        ([0.1, 0.2, 0.3], {}, True),
        ([0.1, 0.2, NAN], {}, False),
        ([0.1, 0.2, None], {}, False),
        ([NAN, 0.2, 0.3], {"mostly": 0.5}, True),
        ([NAN, NAN, 0.3], {"mostly": 0.5}, False),
        ([INF, 0.2, 0.3], {}, True),
    ],
)
def test_nan_counts_as_missing(tmp_path: Path, values: list[float], kwargs: dict[str, Any], success: bool) -> None:
    """C03: NaN is missing, as NULL is, also for ``mostly``; infinity is a value."""
    assert check(tmp_path, values, NOT_NULL, **kwargs).success is success


def test_missing_rows_are_named(tmp_path: Path) -> None:
    """C03: the finding counts the rows with NaN and shows them."""
    result = check(tmp_path, [0.1, 0.2, NAN], NOT_NULL)
    assert (result.unexpected, dict(result.partitions)) == (1, {KEYS[1]: 1})
    assert [row["id"] for row in result.examples] == ["3"]


def test_nan_is_null_where_null_is_asked_for(tmp_path: Path) -> None:
    """C03: the reverse check agrees."""
    assert check(tmp_path, [NAN, None, NAN], "expect_column_values_to_be_null").success
    assert not check(tmp_path, [NAN, None, 1.0], "expect_column_values_to_be_null").success
    share = "expect_column_proportion_of_non_null_values_to_be_between"
    assert not check(tmp_path, [NAN, 0.2, 0.3], share, min_value=1.0).success


def test_nan_in_a_key(tmp_path: Path) -> None:
    """C03: a key of NaN names no row."""
    report = audit(suite(key=["id", "rate"]), rows(rate=[0.1, 0.2, NAN]), KEYS, place(tmp_path))
    assert [(one.type, one.subject) for one in report.failures] == [(NOT_NULL, "rate")]


BOUNDS: list[dict[str, Any]] = [{"min_value": -9}, {"max_value": 9}, {"min_value": -9, "max_value": 9}]


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("kind", ["DOUBLE", "FLOAT"])
def test_no_range_holds_what_is_not_finite(tmp_path: Path, kind: str, value: float) -> None:
    """C03: NaN and both infinities fail a range, also one with a single bound."""
    columns = {"ds": "VARCHAR", "id": "BIGINT", "carrier": "VARCHAR", "rate": kind}
    rules = [rule("expect_column_values_to_be_between", column="rate", **bounds) for bounds in BOUNDS]
    table = rows(rate=[0.1, value, 0.3])
    if kind == "FLOAT":
        table = table.set_column(3, "rate", table.column("rate").cast(pa.float32()))
    for result in audit(suite(columns=columns, expectations=rules), table, KEYS, place(tmp_path)).results[-3:]:
        assert (result.success, result.unexpected, dict(result.partitions)) == (False, 1, {KEYS[0]: 1})


def test_open_ranges_hold_every_number(tmp_path: Path) -> None:
    """C03: the largest and the smallest number are inside a range without a bound on their side."""
    between = "expect_column_values_to_be_between"
    assert check(tmp_path, [0.1, 1.7976931348623157e308, None], between, min_value=0).success
    assert check(tmp_path, [0.1, -1.7976931348623157e308, None], between, max_value=1).success
    assert check(tmp_path, [0.1, 1.7976931348623157e308, None], between, min_value=0, strict_min=True).success
    assert "e+308" not in (tmp_path / "data_docs/flights/tiny/run-1/index.html").read_text()


@pytest.mark.parametrize("value", [NAN, INF, -INF, 0.1])
def test_figures_of_a_column_fail_with_it(tmp_path: Path, value: float) -> None:
    """C03: a minimum, mean or deviation of values that are not all finite is in no range."""
    figures = ("min", "max", "mean", "median", "sum", "stdev")
    rules = [
        rule(f"expect_column_{one}_to_be_between", column="rate", **bounds) for one in figures for bounds in BOUNDS
    ]
    table = rows(ds=[KEYS[0]] * 3, rate=[value, 0.2, 0.3])
    for result in audit(suite(expectations=rules), table, KEYS[:1], place(tmp_path)).results[-len(rules) :]:
        assert result.success is (value == 0.1)
        assert result.success or result.observed == "1 values are NaN or infinite"


def test_what_is_not_finite_is_greater_than_nothing(tmp_path: Path) -> None:
    """C03: DuckDB orders NaN and infinity above all numbers; a comparison of columns does not."""
    kind = "expect_column_pair_values_a_to_be_greater_than_b"
    table = rows(id=[0, 0, 0], rate=[NAN, INF, -INF])
    asked = suite(key=["carrier"], expectations=[rule(kind, column_A="rate", column_B="id", or_equal=True)])
    assert audit(asked, table, KEYS, place(tmp_path)).results[-1].unexpected == 3
    assert audit(asked, rows(id=[0, 0, 0]), KEYS, place(tmp_path)).results[-1].success


def test_columns_of_text_and_of_time_are_compared_as_before(tmp_path: Path) -> None:
    """C03: the text ``nan`` is a text."""
    table = rows(carrier=["nan", "inf", "b"])
    expectations = [
        rule(NOT_NULL, column="carrier"),
        rule("expect_column_pair_values_a_to_be_greater_than_b", column_A="carrier", column_B="other"),
    ]
    columns = {"ds": "VARCHAR", "id": "BIGINT", "carrier": "VARCHAR", "rate": "DOUBLE", "other": "VARCHAR"}
    asked = suite(columns=columns, expectations=expectations)
    table = table.append_column("other", pa.array(["a", "a", "a"]))
    assert audit(asked, table, KEYS, place(tmp_path)).failures == ()
