"""What a task may know of its DAG run: the partitions it works on, the attempt that publishes, and the origin."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from include.core import partitions
from include.core.errors import ConfError, MissingPartitions
from include.core.partitions import Span

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.steps.workspace import Attempt, Workspace

ORIGIN = "origin"

# a scheduler whose clock runs ahead of this machine's starts a partition's run before the partition begins here
CLOCK_LEEWAY = timedelta(minutes=10)


def attempt_of(context: Context, workspace: Workspace) -> Attempt:
    """Return this attempt of the task as the lake records it."""
    ti = context["ti"]
    # Airflow gives each try an id that begins with its time
    return workspace.attempt(ti.dag_id, ti.run_id, ti.try_number, str(ti.id))


def span_of(context: Context, workspace: Workspace, layer: str) -> Span:
    """Return the partition that this DAG run works on, as a span of one.

    It is the run's own partition key; for a run triggered without one, the form's ``partition``; for a
    form left empty, the newest partition whose inputs exist: of ``layer``, or for ingest the next one.

    Raises:
        ConfError: key and form name different partitions, or the partition has not begun yet.
        UnknownPartition: the partition is malformed or outside the source's history.
    """
    key, asked = context["dag_run"].partition_key, context["params"].get("partition")
    if key and asked and key != asked:
        raise ConfError(f"the run's partition key is {key} but its form asks for {asked}; give only one of them")
    chosen = key or asked
    if chosen is None:
        chosen = next_partition(workspace) if layer == "source" else workspace.newest(layer)
    return Span.one(check_begun(workspace, chosen))


def check_begun(workspace: Workspace, key: str) -> str:
    """Return ``key`` if it lies in the source's history and has begun.

    An endless source could deliver any partition of the future, and every later default would start from there.

    Raises:
        ConfError: the clock of ``key`` has not passed.
        UnknownPartition: ``key`` is malformed or outside the source's history.
    """
    workspace.check_partition(key)
    if partitions.clock(key, workspace.case.time_zone) > datetime.now(UTC) + CLOCK_LEEWAY:
        raise ConfError(
            f"{workspace.case.name}: partition {key} has not begun yet; the newest one is {today(workspace)}"
        )
    return key


def bootstrap_span_of(context: Context, workspace: Workspace) -> Span:
    """Return the span of the bootstrap's form, cut off at the newest partition that has begun."""
    params = context["params"]
    return workspace.bootstrap_span(params.get("from"), params.get("to"), today(workspace))


def next_partition(workspace: Workspace) -> str:
    """Return the first partition after the newest published one; the first of history when there is none."""
    try:
        return partitions.shift(workspace.newest("raw"), 1)
    except MissingPartitions:
        return workspace.case.history.first


def today(workspace: Workspace) -> str:
    """Return the newest partition whose clock has passed.

    Only the choice of what may be landed by now depends on it, never the content of a partition.
    """
    return partitions.key_at(datetime.now(UTC), workspace.case.time_zone, workspace.case.period)


def first_week_of_month(context: Context, workspace: Workspace) -> bool:
    """Tell whether this DAG run is a scheduled one of the first seven days of a month: of weekly runs, the first."""
    run = context["dag_run"]
    return (
        _run_type(context) == "scheduled"
        and run.run_after.astimezone(partitions.zone(workspace.case.time_zone)).day <= 7
    )


def origin_of(context: Context) -> str:
    """Return the run type that started this chain of DAG runs: ``scheduled``, ``manual`` or ``backfill``.

    A DAG run that an asset event woke inherits the origin of the DAG run that published the asset.
    """
    inherited = _from_events(context, ORIGIN)
    if inherited is not None:
        return inherited
    return _run_type(context)


def announce(context: Context, outlets: Iterable[Any], key: str) -> None:
    """Give the asset events of this task their partition and the origin of the chain."""
    for outlet in outlets:
        event = context["outlet_events"][outlet]
        event.extra = {ORIGIN: origin_of(context), "partition": key}
        if context["dag_run"].partition_key is None:
            # a run triggered without a key still wakes the DAGs that follow, for the partition that it chose
            event.add_partitions(key)


def challenger_version(context: Context) -> str | None:
    """Return the model version whose registration woke this DAG run; None if no registration did."""
    return _from_events(context, "version")


def _run_type(context: Context) -> str:
    run_type = context["dag_run"].run_type
    return str(getattr(run_type, "value", run_type))


def _from_events(context: Context, name: str) -> str | None:
    """Return the newest value that the events which woke this DAG run carry under ``name``."""
    woken_by = (context.get("triggering_asset_events") or {}).values()
    events = sorted((event for events in woken_by for event in events), key=lambda event: event.timestamp)
    values = [event.extra[name] for event in events if name in (event.extra or {})]
    return values[-1] if values else None
