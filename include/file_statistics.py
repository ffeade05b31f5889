"""What a Delta log says of a file so that readers can leave it closed: its rows, and the bounds of its instants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_GRAIN = timedelta(milliseconds=1)


def of(rows: pa.Table) -> dict[str, Any]:
    """The statistics of a file with ``rows``, as Delta's protocol writes them.

    Only timestamps have bounds: point-in-time joins ask for a window of them, nothing asks for another column.
    Bounds are whole milliseconds, as the protocol has them, rounded outwards so that they hold.
    """
    bounds: dict[str, dict[str, Any]] = {"minValues": {}, "maxValues": {}, "nullCount": {}}
    for field in rows.schema:
        if not pa.types.is_timestamp(field.type):
            continue
        column = rows.column(field.name)
        bounds["nullCount"][field.name] = column.null_count
        found = pc.min_max(column.cast(pa.timestamp("us", "UTC"))).as_py()
        if found["min"] is not None:
            bounds["minValues"][field.name] = _text(found["min"])
            bounds["maxValues"][field.name] = _text(found["max"], up=True)
    return {"numRecords": rows.num_rows, **({} if not bounds["nullCount"] else bounds)}


def _text(instant: datetime, up: bool = False) -> str:
    cut = instant.astimezone(UTC).replace(microsecond=instant.microsecond // 1000 * 1000)
    if up and cut != instant:
        cut += _GRAIN
    return cut.strftime("%Y-%m-%dT%H:%M:%S.") + f"{cut.microsecond // 1000:03d}Z"
