"""A table of three rows and a suite for it, shared by the tests of audits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from include.quality.audit import AuditPlace
from include.spec.suite import Suite

KEYS = ("2013-01-01", "2013-01-02")


def suite(**changes: Any) -> Suite:
    """Flights by id, with whatever a test adds."""
    values: dict[str, Any] = {
        "table": "tiny",
        "key": ["id"],
        "columns": {"ds": "VARCHAR", "id": "BIGINT", "carrier": "VARCHAR", "rate": "DOUBLE"},
    }
    return Suite.model_validate(values | changes)


def rule(type_name: str, severity: str = "critical", **kwargs: Any) -> dict[str, Any]:
    """One expectation."""
    return {"type": type_name, "kwargs": kwargs, "severity": severity, "why": "the test says so"}


def rows(**changes: list[Any]) -> pa.Table:
    """Three good rows in two partitions, with some columns replaced or added."""
    columns: dict[str, list[Any]] = {
        "ds": [KEYS[0], KEYS[0], KEYS[1]],
        "id": [1, 2, 3],
        "carrier": ["UA", "AA", "B6"],
        "rate": [0.1, 0.2, 0.3],
    }
    return pa.table(columns | changes)


def place(tmp_path: Path, **changes: Any) -> AuditPlace:
    """One thread, reports under the test's folder."""
    values: dict[str, Any] = {"use_case": "flights", "run": "run-1", "reports_root": str(tmp_path)}
    return AuditPlace(**(values | changes))
