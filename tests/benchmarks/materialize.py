"""Materializing a feature view: N keys with five almost unique features, into an empty SQLite store.

Subject: ``include.feature_store.feast_store.materialize``, which reads the latest rows and writes them through our
store. References: Feast's own loop (its ``materialize`` with its SQLite store, on the same offline store), and the bare
bulk insert: the same finished rows in one ``executemany`` and one transaction.
"""

from __future__ import annotations

import atexit
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.benchmarks import data
from tests.benchmarks.cases import Call, Facts, Row, Scale, Target, Work
from tests.benchmarks.limits import threads

FEATURES = ("flights", "rate", "share", "arr_delay", "dep_delay")
CARRIERS = ["AA", "B6", "DL", "EV", "UA"]
OURS, THEIRS = '"bench_online_rows"', '"bench_online"'
INSTANT = datetime(2013, 11, 2, 5, tzinfo=UTC)


def rows(scale: Scale) -> list[Row]:
    """List one row a number of keys."""
    sizes = {"tiny": [5_000], "small": [20_000, 100_000]}.get(scale, [100_000, 1_000_000])
    return [_row(size) for size in sizes]


def _row(size: int) -> Row:
    given = {"table": str(data.made("online", size) / "table")}
    feast, bulk = "Feast's own loop", "bare executemany"
    # Feast's loop handles keys one by one, so a tenth of a million keys gives the same rate
    fewer = min(size, 100_000)
    part = {"table": str(data.made("online", fewer) / "table")}
    return Row(
        f"{size:,} keys",
        size,
        "keys",
        Call("our store", "ours", given),
        (Call(feast, "feasts", part, None if fewer == size else fewer), Call(bulk, "bulk", given)),
        (Target("cpu", 5, feast, faster=True), Target("seconds", 5, feast, faster=True), Target("cpu", 2, bulk)),
        series="materialize",
    )


def ours(table: str) -> Work:
    """Set up our materialization."""
    return _ours(table, Path(tempfile.mkdtemp(prefix="bench-online-")))


def _ours(table: str, home: Path) -> Work:
    from include.feature_store import feast_store

    settings = data.settings(home)
    store = feast_store.open_store(settings, "bench")
    feast_store.apply_definitions(store, _definitions(table))

    def run() -> None:
        feast_store.materialize(store, ["online"], INSTANT - timedelta(hours=1), INSTANT)

    return _into_nothing(run, Path(settings.online_store), OURS, store)


def feasts(table: str) -> Work:
    """Set up Feast's own materialization into its SQLite store."""
    from feast import FeatureStore, RepoConfig

    home = Path(tempfile.mkdtemp(prefix="bench-online-"))
    config = {
        "project": "bench", "provider": "local", "registry": str(home / "registry.db"),
        "offline_store": {
            "type": "include.feature_store.offline_store.AsofOfflineStore", "memory_limit": "4GB", "threads": threads(),
        },
        "online_store": {"type": "sqlite", "path": str(home / "online.db")}, "entity_key_serialization_version": 3,
    }  # fmt: skip
    store = FeatureStore(config=RepoConfig(**config))
    store.apply(_definitions(table))

    def run() -> None:
        store.materialize(INSTANT - timedelta(hours=1), INSTANT, ["online"])

    return _into_nothing(run, home / "online.db", THEIRS, store)


def bulk(table: str) -> Work:
    """Set up the bare insert of finished rows into SQLite."""
    home = Path(tempfile.mkdtemp(prefix="bench-online-"))
    filled = _ours(table, home)
    filled.run()
    connection = sqlite3.connect(home / "online.db")
    connection.execute("PRAGMA synchronous = NORMAL")
    stored = connection.execute(f"SELECT * FROM {OURS}").fetchall()
    insert = f"INSERT INTO {OURS} VALUES ({', '.join('?' * len(stored[0]))})"

    def run() -> None:
        with connection:
            connection.executemany(insert, stored)

    return _into_nothing(run, home / "online.db", OURS, None)


def _into_nothing(run: Callable[[], None], database: Path, table: str, store: Any) -> Work:
    """Empty the table before each ``run``; the answer is what Feast reads afterwards for some of the keys."""
    atexit.register(shutil.rmtree, database.parent, ignore_errors=True)
    asked: dict[str, list[Any]] = {"carrier": CARRIERS * 100, "flight": [number // 5 for number in range(500)]}

    def before() -> None:
        with sqlite3.connect(database) as connection:
            connection.execute(f"DELETE FROM {table}")

    def answer() -> Facts:
        if store is None:
            return {}
        names = [f"online:{name}" for name in FEATURES]
        read = store.get_online_features(names, asked).to_dict()
        return {"answer": [float(sum(read[name])) for name in FEATURES]}

    return Work(run, before, answer)


def _definitions(table: str) -> list[Any]:
    from feast import Entity, FeatureView, Field, FileSource, ValueType
    from feast.data_format import DeltaFormat
    from feast.types import Float32, Int64, String

    kinds = {"carrier": ValueType.STRING, "flight": ValueType.INT64}
    entities = [Entity(name=key, join_keys=[key], value_type=kind) for key, kind in kinds.items()]
    view = FeatureView(
        name="online",
        entities=entities,
        ttl=timedelta(days=2),
        schema=[
            Field(name="carrier", dtype=String),
            Field(name="flight", dtype=Int64),
            *(Field(name=name, dtype=Int64 if name == "flights" else Float32) for name in FEATURES),
        ],
        source=FileSource(
            name="online", path=table, file_format=DeltaFormat(), timestamp_field="event_timestamp",
            created_timestamp_column="created_timestamp",
        ),
    )  # fmt: skip
    return [*entities, view]
