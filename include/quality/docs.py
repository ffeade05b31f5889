"""Data docs: one self-contained HTML page and its JSON for each audit.

The page is laid out by Great Expectations' own renderer inside a template of ours: its own template
loads style sheets, fonts and scripts from other hosts. Values come from data nobody vouches for, so
every piece of text is escaped and the page forbids scripts and loading altogether.
"""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from great_expectations.core.expectation_validation_result import (
    ExpectationSuiteValidationResult,
    ExpectationValidationResult,
)
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.expectations.metadata_types import FailureSeverity
from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
from great_expectations.render.view.view import DefaultJinjaPageView
from jinja2 import pass_context

from include.quality.columns import ColumnCheck
from include.quality.report import AuditReport
from include.quality.validation import quiet

PAGE = "index.html"
DATA = "report.json"
QUERY = "unexpected_index_query"
TEMPLATES = Path(__file__).parent / "templates"


class _EscapingView(DefaultJinjaPageView):
    """Escapes text that the parent passes through as it is, such as values in table cells."""

    @pass_context
    def render_content_block(self, jinja_context: Any, content_block: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(content_block, list):
            content_block = [html.escape(b) if isinstance(b, str) else b for b in content_block]
        if isinstance(content_block, str):
            return html.escape(content_block)
        return super().render_content_block(jinja_context, content_block, *args, **kwargs)


def folder(reports_root: str, use_case: str, table: str, run: str) -> Path:
    """Where the report of one audit is kept.

    Raises:
        ValueError: a part is not a plain folder name.
    """
    for part in (use_case, table, run):
        if not re.fullmatch(r"\w[\w.-]*", part, re.ASCII):
            raise ValueError(f"{part!r} is no folder name; use letters, digits, '.', '_' and '-'")
    return Path(reports_root) / "data_docs" / use_case / table / run


def column_validation(check: ColumnCheck) -> ExpectationValidationResult:
    """A column's check in the form that the renderer takes."""
    kind, kwargs = "expect_column_to_exist", {"column": check.name}
    if check.found is not None:
        kind = "expect_column_values_to_be_of_type"
        kwargs["type_"] = check.expected or "absent"
    return ExpectationValidationResult(
        success=check.success,
        expectation_config=ExpectationConfiguration(
            type=kind, kwargs=kwargs, meta={"why": check.message}, severity=FailureSeverity.CRITICAL
        ),
        result={"observed_value": check.found},
        exception_info={"raised_exception": False, "exception_message": None, "exception_traceback": None},
    )


def write(target: Path, report: AuditReport, validations: Sequence[ExpectationValidationResult]) -> None:
    """Write the page and the JSON; a second attempt of the same run replaces the first one's."""
    target.mkdir(parents=True, exist_ok=True)
    _replace(target / DATA, json.dumps(report.as_dict(), indent=1, default=str))
    _replace(target / PAGE, render(report, validations))


def render(report: AuditReport, validations: Sequence[ExpectationValidationResult]) -> str:
    """The HTML page."""
    run = Path(report.docs).parent.name
    good = sum(bool(validation.success) for validation in validations)
    results = ExpectationSuiteValidationResult(
        success=report.verdict != "failed",
        suite_name=f"{report.use_case}/{report.table}",
        results=[_shown(validation) for validation in validations],
        statistics={
            "evaluated_expectations": len(validations),
            "successful_expectations": good,
            "unsuccessful_expectations": len(validations) - good,
            "success_percent": 100 * good / len(validations),
        },
        meta={"run_id": {"run_name": run, "run_time": datetime.now(UTC).isoformat()}},
    )
    renderer: Any = ValidationResultsPageRenderer()
    with quiet():
        document = renderer.render(results)
    return str(_view().render(document, template="audit_page.j2", report=report))


@cache
def _view() -> Any:
    """One view a process: each compiles its templates anew, which costs more than a page."""
    view: Any = _EscapingView(custom_views_directory=str(TEMPLATES))
    return view


def _shown(validation: ExpectationValidationResult) -> ExpectationValidationResult:
    """Without the query for all broken rows, which the renderer would write unescaped."""
    result = {name: value for name, value in (validation.result or {}).items() if name != QUERY}
    return ExpectationValidationResult(
        success=validation.success,
        expectation_config=validation.expectation_config,
        result=result,
        exception_info=validation.exception_info,
    )


def _replace(path: Path, text: str) -> None:
    partial = path.with_suffix(f"{path.suffix}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
