"""The names of Great Expectations that this project uses although its documentation does not describe them.

``tests/unit/test_quality_gx_private.py`` names the version that each was checked against. A new version of Great
Expectations fails that test first, and the test says what to check.
"""

from __future__ import annotations

import html
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import great_expectations.expectations  # noqa: F401  (registers every expectation)
import sqlalchemy as sa
from great_expectations.core.expectation_validation_result import (
    ExpectationSuiteValidationResult,
    ExpectationValidationResult,
)
from great_expectations.execution_engine.sqlalchemy_batch_data import SqlAlchemyBatchData
from great_expectations.execution_engine.sqlalchemy_execution_engine import SqlAlchemyExecutionEngine
from great_expectations.expectations.expectation import (
    ColumnMapExpectation,
    ColumnPairMapExpectation,
    Expectation,
    MulticolumnMapExpectation,
)
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.expectations.metrics.column_pair_map_metrics.column_pair_values_greater import (
    ColumnPairValuesAGreaterThanB,
)
from great_expectations.expectations.metrics.map_metric_provider.column_pair_condition_partial import (
    column_pair_condition_partial,
)
from great_expectations.expectations.registry import (
    get_expectation_impl,
    list_registered_expectation_implementations,
)
from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
from great_expectations.render.view.view import DefaultJinjaPageView
from great_expectations.validator.validator import Validator
from jinja2 import pass_context

CHECKED_AGAINST = {"great_expectations": "1.24.1"}


class GreaterAndFinite(ColumnPairValuesAGreaterThanB):
    """The library's comparison of two columns, which NaN and infinity do not pass.

    Defining the class registers it under the name of its parent. DuckDB orders NaN and infinity above all numbers.
    """

    condition_metric_name = ColumnPairValuesAGreaterThanB.condition_metric_name

    @column_pair_condition_partial(engine=SqlAlchemyExecutionEngine)  # type: ignore[untyped-decorator]
    def _sqlalchemy(cls, column_A: Any, column_B: Any, **kwargs: Any) -> Any:
        number = sa.func.coalesce(sa.func.isfinite(sa.try_cast(column_A, sa.Double)), sa.true())
        # a text may be called nan
        finite = sa.or_(sa.func.typeof(column_A).not_in(["DOUBLE", "FLOAT"]), number)
        if not kwargs.get("or_equal"):
            return sa.and_(column_A > column_B, finite)
        both_null = sa.and_(column_A.is_(None), column_B.is_(None))
        return sa.or_(sa.and_(column_A >= column_B, finite), both_null)


def known_types() -> frozenset[str]:
    """Return the names of all registered expectations, also of those that cannot run here."""
    return frozenset(list_registered_expectation_implementations())


def implementation(name: str) -> type[Expectation]:
    """Return the class of a registered expectation."""
    return get_expectation_impl(name)


def arguments(name: str) -> frozenset[str]:
    """Return the names of the arguments that an expectation accepts beside those that all accept."""
    return frozenset(implementation(name).__fields__) - set(Expectation.__fields__) - {"batch_id"}


def is_about_rows(name: str) -> bool:
    """Tell whether an expectation holds or fails for each row."""
    kinds = (ColumnMapExpectation, ColumnPairMapExpectation, MulticolumnMapExpectation)
    return name in known_types() and issubclass(implementation(name), kinds)


def is_about_rows_of_one_column(name: str) -> bool:
    """Tell whether an expectation holds or fails for each value of one column, and NULL is left out."""
    return name in known_types() and issubclass(implementation(name), ColumnMapExpectation)


def is_about_columns(name: str) -> bool:
    """Tell whether an expectation is about the columns of a table, which all of its partitions share."""
    return name == "expect_column_to_exist" or name.startswith("expect_table_column")


def judge(configuration: ExpectationConfiguration, metrics: dict[str, Any]) -> ExpectationValidationResult:
    """Let an expectation about one figure judge a value that was computed elsewhere."""
    expectation: Any = implementation(configuration.type)(**configuration.kwargs)
    found = expectation._validate(metrics=metrics, runtime_configuration={"result_format": "SUMMARY"})
    return ExpectationValidationResult(
        success=bool(found["success"]),
        expectation_config=configuration,
        result=found.get("result", {}),
        exception_info={"raised_exception": False, "exception_message": None, "exception_traceback": None},
    )


def evaluate(
    engine: sa.Engine,
    operators: ModuleType,
    relation: str,
    configurations: list[ExpectationConfiguration],
    result_format: dict[str, Any],
) -> list[ExpectationValidationResult]:
    """Evaluate expectations over the table or view ``relation``, without a data context or a copy of the rows.

    ``operators`` is the module in which the library looks for the class that decides which SQL operators it writes.
    The results come in any order. An expectation that cannot be evaluated has its error in ``exception_info``.
    """
    execution = SqlAlchemyExecutionEngine(engine=engine, create_temp_table=False)
    execution.dialect_module = operators
    execution.load_batch_data(relation, SqlAlchemyBatchData(execution, table_name=relation, create_temp_table=False))
    validator = Validator(execution_engine=execution)
    validator.metrics_calculator.show_progress_bars = False
    with _quiet():
        results: list[ExpectationValidationResult] = validator.graph_validate(
            configurations=configurations, runtime_configuration={"result_format": result_format}
        )
    return results


def page(results: ExpectationSuiteValidationResult, templates: Path, template: str, **values: Any) -> str:
    """Lay results out by the library's renderer, as HTML by a template of ours in which all text is escaped."""
    renderer: Any = ValidationResultsPageRenderer()
    with _quiet():
        document = renderer.render(results)
    return str(_view(templates).render(document, template=template, **values))


class _EscapingView(DefaultJinjaPageView):
    """A view that escapes text which the parent passes through unchanged, such as values in table cells."""

    @pass_context
    def render_content_block(self, jinja_context: Any, content_block: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(content_block, list):
            content_block = [html.escape(b) if isinstance(b, str) else b for b in content_block]
        if isinstance(content_block, str):
            return html.escape(content_block)
        return super().render_content_block(jinja_context, content_block, *args, **kwargs)


@cache
def _view(templates: Path) -> Any:
    # one view a process: each view compiles its templates anew, which takes longer than writing a page
    view: Any = _EscapingView(custom_views_directory=str(templates))
    return view


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Great Expectations from logging what we raise or show anyway."""
    logger = logging.getLogger("great_expectations")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
