"""What a task may know of its run: which partitions it is about, who publishes, and where it came from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from include.core import partitions
from include.core.errors import ConfError
from include.lake.records import Attempt
from include.steps.workspace import Workspace

ORIGIN = "origin"

# a scheduler whose clock runs ahead of this machine's starts a partition's run before it begins here
CLOCK_LEEWAY = timedelta(minutes=10)


def attempt_of(context: Any, workspace: Workspace) -> Attempt:
    """The run as the lake records it."""
    task_instance = context["ti"]
    return Attempt(
        use_case=workspace.case.name,
        dag_id=task_instance.dag_id,
        run_id=task_instance.run_id,
        number=task_instance.try_number,
        code_version=workspace.settings.code_version,
    )


def partition_of(context: Any, workspace: Workspace, layer: str) -> tuple[str, ...]:
    """The partition that this run is about, as a range of one.

    It is the run's own partition key; for a run triggered without one, the form's ``partition``; for a
    form left empty, the newest partition whose inputs exist: of ``layer``, or for ingest the next one.

    Raises:
        ConfError: key and form name different partitions, or the partition has not begun yet.
        UnknownPartition: it is malformed or outside the source's history.
    """
    key, asked = context["dag_run"].partition_key, context["params"].get("partition")
    if key and asked and key != asked:
        raise ConfError(f"the run's partition key is {key} but its form asks for {asked}; give only one of them")
    chosen = key or asked
    if chosen is None:
        chosen = next_partition(workspace) if layer == "source" else workspace.newest(layer)
    return (check_begun(workspace, chosen),)


def check_begun(workspace: Workspace, key: str) -> str:
    """``key``, if it lies in the source's history and has begun.

    An endless source could deliver any day of the future, and every later default would start from there.

    Raises:
        ConfError: its clock has not passed.
        UnknownPartition: it is malformed or outside the source's history.
    """
    workspace.check_partition(key)
    if partitions.clock(key, workspace.case.time_zone) > datetime.now(UTC) + CLOCK_LEEWAY:
        raise ConfError(
            f"{workspace.case.name}: partition {key} has not begun yet; the newest one is {today(workspace)}"
        )
    return key


def range_of(context: Any, workspace: Workspace) -> tuple[str, ...]:
    """The partitions that a bootstrap is about: those of its form, cut off at the newest that has begun."""
    params = context["params"]
    return workspace.bootstrap_range(params.get("from"), params.get("to"), today(workspace))


def next_partition(workspace: Workspace) -> str:
    """The first partition after the newest published one; the first of history when there is none."""
    from include.core.errors import MissingPartitions

    try:
        return partitions.shift(workspace.newest("raw"), 1)
    except MissingPartitions:
        return workspace.case.history.first


def today(workspace: Workspace) -> str:
    """The newest partition whose clock has passed. Only a live schedule asks: it decides what may be
    landed by now, never what a partition contains."""
    return partitions.key_at(datetime.now(UTC), workspace.case.time_zone)


def origin_of(context: Any) -> str:
    """The run type that started this chain of runs: ``scheduled``, ``manual`` or ``backfill``.

    A run that an asset event woke inherits the origin of the run that published the asset.
    """
    inherited = _from_events(context, ORIGIN)
    if inherited is not None:
        return inherited
    return str(getattr(context["dag_run"].run_type, "value", context["dag_run"].run_type))


def announce(context: Any, outlets: list[Any], key: str) -> None:
    """Give the asset events of this task their partition and the origin of the chain."""
    for outlet in outlets:
        event = context["outlet_events"][outlet]
        event.extra = {ORIGIN: origin_of(context), "partition": key}
        if context["dag_run"].partition_key is None:
            # a run triggered without a key still wakes the DAGs that follow, for the day it chose
            event.add_partitions(key)


def challenger_version(context: Any) -> str | None:
    """The model version whose registration woke this run; ``None`` if none did."""
    return _from_events(context, "version")


def _from_events(context: Any, name: str) -> str | None:
    """The newest value that the events which woke this run carry under ``name``."""
    woken_by = (context.get("triggering_asset_events") or {}).values()
    events = sorted((event for events in woken_by for event in events), key=lambda event: event.timestamp)
    values = [event.extra[name] for event in events if name in (event.extra or {})]
    return values[-1] if values else None
