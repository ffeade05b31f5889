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
from typing import Any, ClassVar

import great_expectations.expectations  # noqa: F401  (registers every expectation)
import sqlalchemy as sa
from great_expectations.core.expectation_validation_result import (
    ExpectationSuiteValidationResult,
    ExpectationValidationResult,
)
from great_expectations.execution_engine.sqlalchemy_batch_data import SqlAlchemyBatchData
from great_expectations.execution_engine.sqlalchemy_execution_engine import SqlAlchemyExecutionEngine
from great_expectations.expectations.core.unexpected_rows_expectation import UnexpectedRowsExpectation
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.expectations.registry import (
    get_expectation_impl,
    list_registered_expectation_implementations,
)
from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
from great_expectations.render.view.view import DefaultJinjaPageView
from great_expectations.validator.validator import Validator
from jinja2 import pass_context

CHECKED_AGAINST = {"great_expectations": "1.24.1"}
COUNTED_RULE = "unexpected_row_count"


class UnexpectedRowCount(UnexpectedRowsExpectation):
    """Rows that a query finds, counted.

    The parent also fetches all of the rows, since our engine buffers results; examples are fetched separately, and
    only when there are any.
    """

    metric_dependencies: ClassVar[tuple[str, ...]] = ("unexpected_rows_query.row_count",)

    def _validate(
        self, metrics: dict[str, Any], runtime_configuration: Any = None, execution_engine: Any = None
    ) -> dict[str, Any]:
        count = metrics["unexpected_rows_query.row_count"]
        return {"success": count == 0, "result": {"observed_value": count}}


def known_types() -> frozenset[str]:
    """Return the names of all registered expectations, also of those that cannot run here."""
    return frozenset(list_registered_expectation_implementations()) - {COUNTED_RULE}


def implementation(name: str) -> type[Expectation]:
    """Return the class of a registered expectation."""
    return get_expectation_impl(name)


def arguments(name: str) -> frozenset[str]:
    """Return the names of the arguments that an expectation accepts beside those that all accept."""
    return frozenset(implementation(name).__fields__) - set(Expectation.__fields__) - {"batch_id"}


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
