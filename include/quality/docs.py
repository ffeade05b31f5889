"""Data docs: one self-contained HTML page and its JSON for each audit.

Great Expectations' renderer lays the page out inside a template of ours: the library's own template
loads style sheets, fonts and scripts from other hosts. Values come from unchecked data, so every text is
escaped, and the page forbids all scripts and all loading.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from great_expectations.core.expectation_validation_result import (
    ExpectationSuiteValidationResult,
    ExpectationValidationResult,
)
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.expectations.metadata_types import FailureSeverity

from include.core.files import replace_text
from include.quality import expectations, gx_private, judged
from include.quality.columns import ColumnCheck
from include.quality.report import AuditReport

PAGE = "index.html"
DATA = "report.json"
QUERY = "unexpected_index_query"
TEMPLATES = Path(__file__).parent / "templates"


def folder(reports_root: str, use_case: str, table: str, run: str) -> Path:
    """Return the folder of the report of one audit.

    Raises:
        ValueError: a part is not a plain folder name.
    """
    for part in (use_case, table, run):
        if not re.fullmatch(r"\w[\w.-]*", part, re.ASCII):
            raise ValueError(f"{part!r} is no folder name; use letters, digits, '.', '_' and '-'")
    return Path(reports_root) / "data_docs" / use_case / table / run


def column_validation(check: ColumnCheck) -> ExpectationValidationResult:
    """Return a column's check in the form that the renderer takes."""
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
    """Write the page and the JSON; another attempt of the same DAG run replaces them."""
    target.mkdir(parents=True, exist_ok=True)
    replace_text(target / DATA, json.dumps(report.as_dict(), indent=1, default=str))
    replace_text(target / PAGE, render(report, validations))


def render(report: AuditReport, validations: Sequence[ExpectationValidationResult]) -> str:
    """Return the HTML page."""
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
    return gx_private.page(results, TEMPLATES, "audit_page.j2", report=report)


def _shown(validation: ExpectationValidationResult) -> ExpectationValidationResult:
    """Return the result without the query for all broken rows, which the renderer would write unescaped."""
    result = {name: value for name, value in (validation.result or {}).items() if name != QUERY}
    return ExpectationValidationResult(
        success=validation.success,
        expectation_config=_as_written(judged.config_of(validation)),
        result=result,
        exception_info=validation.exception_info,
    )


def _as_written(config: ExpectationConfiguration) -> ExpectationConfiguration:
    """Return an expectation without the bounds that the audit has added."""
    kwargs = {name: value for name, value in config.kwargs.items() if value not in expectations.LARGEST}
    return ExpectationConfiguration(type=config.type, kwargs=kwargs, meta=config.meta, severity=config.severity)
