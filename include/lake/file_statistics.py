"""File statistics in the Delta log, by which readers skip files: the row count, and the bounds of timestamp columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from include.core import sql

_GRAIN = timedelta(milliseconds=1)
_LAST = datetime.max.replace(tzinfo=UTC) - _GRAIN


def of(rows: pa.Table) -> dict[str, Any]:
    """Return the statistics of a file with ``rows``, in the form of Delta's protocol.

    Only timestamp columns have bounds: point-in-time joins filter by them, and no reader filters by another column.
    Bounds are whole milliseconds, as the protocol wants, rounded outwards so that no row lies outside.
    """
    return of_parts(rows, [rows.num_rows])[0]


def of_parts(rows: pa.Table, counts: Sequence[int]) -> list[dict[str, Any]]:
    """Return the statistics of files with the first ``counts[0]`` rows, the next ``counts[1]`` rows, and so on."""
    found: list[dict[str, Any]] = [{"numRecords": count} for count in counts]
    names = [field.name for field in rows.schema if pa.types.is_timestamp(field.type)]
    if not names:
        return found
    for part in found:
        part |= {"minValues": {}, "maxValues": {}, "nullCount": dict.fromkeys(names, 0)}
    instants = {name: rows.column(name).cast(pa.timestamp("us", "UTC")) for name in names}
    number = sql.unused("part", names)
    numbered = pa.table({**instants, number: np.repeat(np.arange(len(counts)), counts)})
    bounds = numbered.group_by(number).aggregate([(name, how) for name in names for how in ("min", "max", "count")])
    for bound in bounds.to_pylist():
        part = found[bound[number]]
        for name in names:
            part["nullCount"][name] = part["numRecords"] - bound[f"{name}_count"]
            if bound[f"{name}_count"]:
                part["minValues"][name] = text_of(bound[f"{name}_min"])
                last = bound[f"{name}_max"]
                # the last millisecond of the year 9999 has no later one: without a bound readers open the file
                if last < _LAST:
                    part["maxValues"][name] = text_of(last, up=True)
    return found


def bounds_of(statistics: Mapping[str, Any], column: str) -> tuple[str, str] | None:
    """Return the bounds of a time stamp column of a file; None if it has a null or no bounds."""
    if statistics.get("nullCount", {}).get(column) != 0:
        return None
    low, high = (statistics.get(name, {}).get(column) for name in ("minValues", "maxValues"))
    return None if low is None or high is None else (low, high)


def text_of(instant: datetime, up: bool = False) -> str:
    """Write an instant as Delta's statistics do: whole milliseconds of UTC, cut off, or rounded ``up``."""
    cut = instant.astimezone(UTC).replace(microsecond=instant.microsecond // 1000 * 1000)
    if up and cut != instant:
        cut += _GRAIN
    # strftime would write the year 44 without zeros
    return cut.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
