"""Great Expectations' undocumented names behave as ``include.quality.gx_private`` uses them."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import duckdb
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

from include.quality import duckdb_dialect, gx_private


def test_the_installed_version_is_the_one_that_was_checked() -> None:
    installed = {name: version(name) for name in gx_private.CHECKED_AGAINST}
    assert installed == gx_private.CHECKED_AGAINST, (
        "Great Expectations has changed: read in its sources each function that include/quality/gx_private.py calls, "
        "run tests/unit/test_quality_*.py, look whether a documented name can replace one of them, then write the new "
        "version into CHECKED_AGAINST"
    )


def evaluated(kind: str, **kwargs: str) -> dict[str, object]:
    with duckdb.connect() as connection:
        connection.execute("CREATE VIEW staged AS SELECT * FROM (VALUES (1, 'a'), (NULL, 'b')) AS t (id, name)")
        (result,) = gx_private.evaluate(
            duckdb_dialect.engine(connection),
            duckdb_dialect.OPERATORS,
            "staged",
            [ExpectationConfiguration(type=kind, kwargs=kwargs)],
            {"result_format": "SUMMARY"},
        )
        assert connection.execute("SELECT 1").fetchone() == (1,)  # it is the caller's connection, and still open
    return {"success": result.success, **result.result, "errors": result.exception_info}


def test_expectations_are_evaluated_over_a_view_without_a_context() -> None:
    found = evaluated("expect_column_values_to_not_be_null", column="id")
    assert (found["success"], found["unexpected_count"]) == (False, 1)


def test_a_figure_that_was_computed_elsewhere_is_judged() -> None:
    config = ExpectationConfiguration(
        type="expect_column_mean_to_be_between", kwargs={"column": "id", "min_value": 1, "max_value": 2}
    )
    results = [gx_private.judge(config, {"column.mean": mean}) for mean in (1.5, 3.0, None)]
    assert [one.success for one in results] == [True, False, False]
    assert results[1].result == {"observed_value": 3.0}


def test_expectations_about_rows_are_known() -> None:
    assert gx_private.is_about_rows("expect_compound_columns_to_be_unique")
    assert not gx_private.is_about_rows_of_one_column("expect_compound_columns_to_be_unique")
    assert gx_private.is_about_rows_of_one_column("expect_column_values_to_not_be_null")
    assert not gx_private.is_about_rows("expect_column_mean_to_be_between")


def test_an_error_of_the_engine_is_returned_and_not_raised() -> None:
    assert "absent" in str(evaluated("expect_column_values_to_not_be_null", column="absent")["errors"])


def test_types_and_arguments_are_listed() -> None:
    assert "expect_column_values_to_match_regex" in gx_private.known_types()
    assert {"column", "regex", "mostly"} <= gx_private.arguments("expect_column_values_to_match_regex")
    assert "severity" not in gx_private.arguments("expect_column_values_to_match_regex")


def test_our_templates_are_beside_the_ones_of_the_library() -> None:
    view = gx_private._view(Path(gx_private.__file__).parent / "templates")
    assert view.env.get_template("audit_page.j2")
    assert view.env.get_template("section.j2")
