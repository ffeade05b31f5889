"""The fields of the trigger forms: JSON schema checks every value before a DAG run is created."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param

from include.core.partitions import Period
from include.spec.accelerator import PLACES
from include.spec.use_case import UseCase

# Python's `$` also matches before a line feed at the end, JSON schema's does not
END = r"$(?!\n)"


def partition(use_case: UseCase) -> Param:
    """Return the field for the partition to work on."""
    return _optional_key(
        use_case,
        "Partition",
        f"The {use_case.period} to work on, such as {use_case.period.example}. Leave it empty to use the run's "
        f"partition key or, where it has none, the newest {use_case.period} whose inputs are there.",
    )


def bootstrap_span(use_case: UseCase) -> dict[str, Param]:
    """Return the fields for the first and the last partition of a bootstrap."""
    return {
        "from": _optional_key(
            use_case,
            "From",
            f"First {use_case.period} to load, such as {use_case.period.example}. Leave it empty to load the use "
            "case's usual span.",
        ),
        "to": _optional_key(
            use_case,
            "To",
            f"Last {use_case.period} to load. Leave it empty for the newest {use_case.period} that the source has.",
        ),
    }


def as_of(use_case: UseCase) -> Param:
    """Return the field for the partition at whose clock a training set is frozen."""
    return _optional_key(
        use_case,
        "As of",
        f"Train on what was known when this {use_case.period} began. Leave it empty for the newest {use_case.period} "
        "with features.",
    )


def trials(default: int) -> Param:
    """Return the field for the budget of the search."""
    return Param(
        None,
        type=["null", "integer"],
        minimum=1,
        maximum=10_000,
        title="Trials",
        description=f"Budget of the search, shared by its workers. Leave it empty for the spec's {default}.",
    )


def accelerator() -> Param:
    """Return the field for the place where workers run."""
    return Param(
        None,
        type=["null", "string"],
        enum=[None, *PLACES],
        title="Accelerator",
        description="Where the search's workers run. Leave it empty for the deployment's own choice; a place whose "
        "settings are missing is an error that names them.",
    )


def version() -> Param:
    """Return the field for the model version to judge."""
    return Param(
        None,
        type=["null", "string"],
        pattern=r"^[1-9][0-9]{0,5}" + END,
        title="Version",
        description="The registered model version to judge. Leave it empty for the newest one.",
    )


def rollback(use_case: UseCase) -> dict[str, Param]:
    """Return the fields for the version to roll back to, and the first partition that it scores again."""
    return {
        "rollback_to": Param(
            None,
            type=["null", "string"],
            pattern=r"^[1-9][0-9]{0,5}" + END,
            title="Roll back to",
            description="An earlier champion to return to, without a comparison. Leave it empty to judge a challenger.",
        ),
        "rollback_from": _optional_key(
            use_case,
            "Roll back from",
            f"The first {use_case.period} that the earlier champion scores again. Leave it empty for the first "
            f"{use_case.period} not yet scored.",
        ),
    }


def model() -> Param:
    """Return the field for the model that scores."""
    return Param(
        "as_of_clock",
        type="string",
        pattern=r"^(as_of_clock|current|[1-9][0-9]{0,5})" + END,
        title="Model",
        description="as_of_clock scores each partition with the champion of its clock; current with the newest "
        "champion; a number with that version.",
    )


def retention_hours() -> Param:
    """Return the field for the age from which unneeded files are deleted."""
    return Param(
        168,
        type="integer",
        minimum=24,
        maximum=24 * 366 * 10,
        title="Retention, hours",
        description="Files that no reader needs are deleted once they are this old.",
    )


def plan() -> Param:
    """Return the field for the name of the plan that may be run."""
    return Param(
        None,
        type=["null", "string"],
        pattern=r"^[0-9a-f]{12}" + END,
        title="Plan",
        description="The name that `make plan` has printed. If something has changed since then, the DAG run is "
        "refused. Leave it empty to run the plan of now.",
    )


def dry_run() -> Param:
    """Return the field that lets maintenance list files instead of deleting them."""
    return Param(False, type="boolean", title="Dry run", description="Only list the files that would be deleted.")


def verify() -> Param:
    """Return the field that lets maintenance verify the lake now."""
    return Param(
        False,
        type="boolean",
        title="Verify",
        description="Read every partition and compare it with its publish record, as the first run of a month does.",
    )


def _optional_key(use_case: UseCase, title: str, description: str) -> Param:
    pattern = f"^(?=({_years(use_case)})-)({use_case.period.pattern}){END}"
    # a day is chosen from a calendar
    kind: dict[str, Any] = {"format": "date"} if use_case.period is Period.DAY else {}
    return Param(None, type=["null", "string"], pattern=pattern, title=title, description=description, **kind)


def _years(use_case: UseCase) -> str:
    """Return a pattern of the years of history; the task that gets a key checks the key itself."""
    first, last = use_case.history.first, use_case.history.last
    if last is None:
        return "[0-9]{4}"
    return "|".join(f"{year:04}" for year in range(int(first[:4]), int(last[:4]) + 1))
