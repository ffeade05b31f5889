"""Commands of Airflow that an error or a plan tells a person to run."""

from __future__ import annotations

from datetime import time

from include.core import partitions
from include.core.partitions import Span


def backfill_again(use_case: str, step: str, span: Span) -> str:
    """Return the command that runs a step again for ``span``; Airflow takes the dates on which partitions begin."""
    return (
        f"airflow backfill create --dag-id {use_case}_{step} --from-date {_date(span.first)} "
        f"--to-date {_date(span.last)} --reprocess-behavior completed"
    )


def _date(key: str) -> str:
    shown = partitions.begin(key)
    return shown.date().isoformat() if shown.time() == time() else shown.isoformat()
