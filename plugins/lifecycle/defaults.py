"""The arguments that all DAGs of the lifecycle share, and the use cases that DAGs are built of."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule, get_parsing_context

from include.core import errors, partitions
from include.spec.loading import load_use_case, load_use_cases
from include.spec.use_case import UseCase

# errors that a retry cannot fix
LASTING = [
    errors.AuditFailed,
    errors.ConfError,
    errors.ContentDiffers,
    errors.DefinitionChanged,
    errors.DigestMismatch,
    errors.LateAttempt,
    errors.LinkInLake,
    errors.MissingPartitions,  # raised after the task has waited for them
    errors.NoChampion,
    errors.PromotionConflict,  # the proposal names the ledger that it was judged against
    errors.RowsRefused,
    errors.SchemaMismatch,
    errors.SettingsError,
    errors.SignatureRefused,
    errors.SpanDependent,
    errors.SpecError,
    errors.StaleStage,
    errors.StagePublished,
    errors.UnknownPartition,
]
RETRIES = {
    "retries": 2,
    "retry_delay": timedelta(seconds=5),
    "retry_exponential_backoff": True,
    "retry_policy": ExceptionRetryPolicy(
        rules=[RetryRule(exception=list(LASTING), action=RetryAction.FAIL, reason="a retry cannot fix this error")]
    ),
}


def use_cases() -> Iterator[UseCase]:
    """Yield the use cases to build DAGs of: every one without faults, but in the process of a task only its own.

    The process of a task parses its DAG file again, and with hundreds of use cases this would take longer than the
    task.

    Raises:
        SpecError: the spec of the running task's use case has got a fault meanwhile.
    """
    running = get_parsing_context().dag_id
    if running is None:
        yield from load_use_cases()
    else:
        yield load_use_case(running.rpartition("_")[0])


def dag_defaults(use_case: UseCase, step: str, doc: str | None) -> dict[str, Any]:
    """Return the arguments of one step's DAG: id, owner, tags, first day of history, and the module's docstring."""
    return {
        "dag_id": f"{use_case.name}_{step}",
        "description": (doc or "").split("\n", 1)[0],
        "doc_md": doc,
        "tags": [use_case.name, step, *use_case.tags],
        "start_date": _beginning(use_case.history.first, use_case),
        "end_date": _beginning(use_case.history.last, use_case),
        "catchup": False,
        "default_args": {"owner": use_case.owner, **RETRIES},
        "is_paused_upon_creation": use_case.paused,
        "render_template_as_native_obj": True,
    }


def _beginning(key: str | None, use_case: UseCase) -> datetime | None:
    if key is None:
        return None
    return partitions.clock(key, use_case.time_zone).astimezone(partitions.zone(use_case.time_zone))
