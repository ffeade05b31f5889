"""The fields of the trigger forms: JSON schema checks every value before a DAG run is created."""

from __future__ import annotations

from airflow.sdk import Param

from include.spec.accelerator import PLACES
from include.spec.use_case import UseCase

# Python's `$` also matches before a line feed at the end, JSON schema's does not
END = r"$(?!\n)"


def partition(use_case: UseCase) -> Param:
    """Return the field for the partition to work on."""
    return _optional_day(
        use_case,
        "Partition",
        "The day to work on, such as 2013-11-02. Leave it empty to use the run's partition key or, where it "
        "has none, the newest day whose inputs are there.",
    )


def bootstrap_span(use_case: UseCase) -> dict[str, Param]:
    """Return the fields for the first and the last partition of a bootstrap."""
    return {
        "from": _optional_day(
            use_case, "From", "First day to load, such as 2013-01-01. Leave it empty to load the use case's usual span."
        ),
        "to": _optional_day(use_case, "To", "Last day to load. Leave it empty for the newest day that the source has."),
    }


def as_of(use_case: UseCase) -> Param:
    """Return the field for the partition at whose clock a training set is frozen."""
    return _optional_day(
        use_case,
        "As of",
        "Train on what was known when this day began. Leave it empty for the newest day with features.",
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
        "rollback_from": _optional_day(
            use_case,
            "Roll back from",
            "The first day that the earlier champion scores again. Leave it empty for the first day not yet scored.",
        ),
    }


def model() -> Param:
    """Return the field for the model that scores."""
    return Param(
        "as_of_clock",
        type="string",
        pattern=r"^(as_of_clock|current|[1-9][0-9]{0,5})" + END,
        title="Model",
        description="as_of_clock scores each day with the champion of that day; current with the newest "
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


def _optional_day(use_case: UseCase, title: str, description: str) -> Param:
    pattern = f"^({_years(use_case)})-[0-9]{{2}}-[0-9]{{2}}{END}"
    return Param(None, type=["null", "string"], format="date", pattern=pattern, title=title, description=description)


def _years(use_case: UseCase) -> str:
    """Return a pattern of the years of history; the task that gets a day checks the day itself."""
    first, last = use_case.history.first, use_case.history.last
    if last is None:
        return "[0-9]{4}"
    return "|".join(f"{year:04}" for year in range(int(first[:4]), int(last[:4]) + 1))
