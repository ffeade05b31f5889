"""An older value never replaces a newer one online, in any order of writers and processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from feast import FeatureStore

from include.core.errors import LifecycleError
from include.core.repository import REPOSITORY
from include.feature_store.feast_store import apply_definitions, online_features, open_store
from include.feature_store.online_store import GuardedSqliteOnlineStore
from tests.unit.feast_case import INSTANT, clock, deployment, project
from tests.waiting import HANGS_AFTER_S


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    opened = open_store(deployment(tmp_path), "flights")
    apply_definitions(opened, project(tmp_path))
    return opened


def delays(carriers: Sequence[str | None], flights: Sequence[int | None], days: Sequence[int]) -> pa.Table:
    instants = pa.array([clock(day) for day in days], INSTANT)
    return pa.table(
        {
            "carrier": pa.array(carriers, pa.string()),
            "flights": pa.array(flights, pa.int64()),
            "delay": pa.array([None if n is None else n / 2 for n in flights], pa.float64()),
            "event_timestamp": instants,
            "created_timestamp": instants,
        }
    )


def write(store: FeatureStore, rows: pa.Table) -> None:
    online = store.provider.online_store
    assert isinstance(online, GuardedSqliteOnlineStore)
    online.write_table(store.config, store.get_feature_view("carrier_delays"), rows)


def read(store: FeatureStore, carriers: Sequence[str]) -> list[Any]:
    keys = {"carrier": carriers, "origin": ["JFK"] * len(carriers)}
    answer = online_features(store, "delays_v1", keys, clock(4))
    return list(zip(answer.column("flights").to_pylist(), answer.column("delay").to_pylist(), strict=True))


def test_an_older_batch_after_a_newer_one_changes_nothing(store: FeatureStore) -> None:
    write(store, delays(["AA", "UA"], [5, 6], [3, 3]))
    write(store, delays(["AA", "UA", "B6"], [1, 2, 3], [2, 4, 2]))
    assert read(store, ["AA", "UA", "B6", "unknown"]) == [(5, 2.5), (2, 1.0), (3, 1.5), (None, None)]


def test_equal_instants_are_idempotent_and_take_a_correction(store: FeatureStore) -> None:
    write(store, delays(["AA"], [5], [3]))
    write(store, delays(["AA"], [5], [3]))
    assert read(store, ["AA"]) == [(5, 2.5)]
    write(store, delays(["AA"], [7], [3]))
    assert read(store, ["AA"]) == [(7, 3.5)]


def test_among_equal_events_an_older_creation_changes_nothing(store: FeatureStore) -> None:
    newer = delays(["AA"], [5], [3])
    later_known = newer.set_column(4, "created_timestamp", pa.array([clock(4)], INSTANT))
    write(store, later_known)
    write(store, delays(["AA"], [1], [3]))
    assert read(store, ["AA"]) == [(5, 2.5)]


def test_a_newer_null_replaces_a_value(store: FeatureStore) -> None:
    write(store, delays(["AA"], [5], [3]))
    write(store, delays(["AA"], [None], [4]))
    assert read(store, ["AA"]) == [(None, None)]


def test_large_integers_beside_nulls_stay_exact(store: FeatureStore) -> None:
    write(store, delays(["AA", "UA"], [2**53 + 1, None], [3, 3]))
    assert [flights for flights, _ in read(store, ["AA", "UA"])] == [2**53 + 1, None]


def test_feasts_own_way_of_writing_is_guarded_too(store: FeatureStore) -> None:
    def feature_rows(flights: int, day: int) -> Any:
        return delays(["AA"], [flights], [day]).to_pandas()

    store.write_to_online_store("carrier_delays", feature_rows(5, 3))
    store.write_to_online_store("carrier_delays", feature_rows(1, 2))
    assert read(store, ["AA"]) == [(5, 2.5)]


def test_the_instant_read_back_is_utc_whatever_the_process_zone(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        write(store, delays(["AA"], [5], [3]))
        response = store.get_online_features(["carrier_delays:flights"], [{"carrier": "AA"}])
    finally:
        monkeypatch.undo()
        time.tzset()
    assert response.proto.results[1].event_timestamps[0].seconds == int(clock(3).timestamp())


def test_null_keys_and_missing_columns_are_refused(store: FeatureStore) -> None:
    with pytest.raises(LifecycleError, match="join key 'carrier' is null in 1 rows"):
        write(store, delays([None], [5], [3]))
    with pytest.raises(LifecycleError, match=r"lack the columns \['delay'\]"):
        write(store, delays(["AA"], [5], [3]).drop_columns(["delay"]))


def test_a_failed_write_leaves_everything_as_it_was(store: FeatureStore) -> None:
    write(store, delays(["AA"], [5], [3]))
    no_instant = delays(["AA", "AA"], [8, 9], [5, 5])
    broken = no_instant.set_column(3, "event_timestamp", pa.array([clock(5), None], INSTANT))
    with pytest.raises(LifecycleError, match="1 rows to write online have no instant"):
        write(store, broken)
    assert read(store, ["AA"]) == [(5, 2.5)]


WRITER = """
import sys
from pathlib import Path
from include.feature_store.feast_store import open_store
from tests.unit.feast_case import deployment
from tests.unit.test_online_store import delays, write

store = open_store(deployment(Path(sys.argv[1])), "flights")
print("ready", flush=True)
sys.stdin.readline()
days = range(int(sys.argv[2]), 40, 2)
for day in days if sys.argv[2] == "0" else reversed(days):
    write(store, delays([f"carrier {n}" for n in range(300)], [day] * 300, [day] * 300))
"""


def test_two_processes_write_at_once_and_the_newest_stays(store: FeatureStore, tmp_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", WRITER, str(tmp_path), first],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for first in ("0", "1")
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    assert [writer.wait(HANGS_AFTER_S) for writer in writers] == [0, 0]
    assert read(store, ["carrier 0", "carrier 299"]) == [(39, 19.5), (39, 19.5)]
