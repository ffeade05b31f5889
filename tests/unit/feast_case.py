"""Three flights of two carriers, as small Feast projects over real Delta tables."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from deltalake import write_deltalake
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.data_format import DeltaFormat, ParquetFormat
from feast.types import Float64, Int64, String

from include.core.settings import Settings

INSTANT = pa.timestamp("us", "UTC")
CLOCK = datetime(2013, 11, 2, 4, tzinfo=UTC)

CARRIER = Entity(name="carrier", join_keys=["carrier"], value_type=ValueType.STRING)
ORIGIN = Entity(name="origin", join_keys=["origin"], value_type=ValueType.STRING)


def clock(day: int) -> datetime:
    """Return the instant ``day`` days after the first clock."""
    return CLOCK + timedelta(days=day)


def deployment(folder: Path, registry: str | None = None) -> Settings:
    """Return settings whose every part lies in ``folder``."""
    online = str(folder / "online" / "online.db")
    return Settings.in_folder(folder, online_store=online, **({} if registry is None else {"feast_registry": registry}))


def write_view(
    folder: Path, name: str, rows: Mapping[str, Any], mode: Literal["append", "overwrite"] = "append"
) -> str:
    """Write rows whose ``day`` says both when they happened and when they were known."""
    instants = pa.array([clock(day) for day in rows["day"]], INSTANT)
    columns = {key: pa.array(values) for key, values in rows.items() if key != "day"}
    uri = str(folder / "lake" / name)
    table = pa.table({**columns, "event_timestamp": instants, "created_timestamp": instants})
    if mode == "overwrite":
        write_deltalake(uri, table, mode="overwrite")
    else:
        write_deltalake(uri, table, mode="append")
    return uri


def source(name: str, uri: str, **options: Any) -> FileSource:
    return FileSource(
        name=name,
        path=uri,
        file_format=ParquetFormat() if uri.endswith(".parquet") else DeltaFormat(),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
        **options,
    )


def carrier_view(uri: str, days: int = 28) -> FeatureView:
    return FeatureView(
        name="carrier_delays",
        entities=[CARRIER],
        ttl=timedelta(days=days),
        schema=[
            Field(name="carrier", dtype=String),
            Field(name="flights", dtype=Int64),
            Field(name="delay", dtype=Float64),
        ],
        source=source("carrier_delays", uri),
    )


def origin_view(uri: str) -> FeatureView:
    return FeatureView(
        name="origin_weather",
        entities=[ORIGIN],
        ttl=timedelta(days=2),
        schema=[Field(name="origin", dtype=String), Field(name="temperature", dtype=Float64)],
        source=source("origin_weather", uri),
    )


def project(folder: Path, lifetime: int = 28) -> list[Any]:
    """Two views with rows on days 0 and 1, and a service over both; tables are written anew."""
    carriers = write_view(
        folder,
        "carrier_delays",
        {"carrier": ["AA", "UA", "AA"], "flights": [3, None, 5], "delay": [1.5, 2.5, None], "day": [0, 0, 1]},
        mode="overwrite",
    )
    origins = write_view(
        folder,
        "origin_weather",
        {"origin": ["JFK", "EWR"], "temperature": [10.0, 11.0], "day": [0, 1]},
        mode="overwrite",
    )
    views: list[Any] = [carrier_view(carriers, lifetime), origin_view(origins)]
    return [CARRIER, ORIGIN, *views, FeatureService(name="delays_v1", features=views)]
