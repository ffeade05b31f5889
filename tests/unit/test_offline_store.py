"""The offline store as Feast calls it: names, mappings, kinds of views and of entity rows, refusals."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    RepoConfig,
    ValueType,
)
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Bool, Int64, String

from include.core.errors import LifecycleError
from include.feature_store.feast_store import apply_definitions, materialize, open_store
from tests.unit.feast_case import (
    CARRIER,
    INSTANT,
    ORIGIN,
    carrier_view,
    clock,
    deployment,
    origin_view,
    project,
    source,
    write_view,
)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    opened = open_store(deployment(tmp_path), "flights")
    apply_definitions(opened, project(tmp_path))
    return opened


def entity_rows(day: int = 1, **columns: Any) -> pa.Table:
    count = len(next(iter(columns.values())))
    return pa.table({**columns, "event_timestamp": pa.array([clock(day)] * count, INSTANT)})


def test_pandas_and_arrow_rows_of_any_zone_give_the_same(store: FeatureStore) -> None:
    rows = entity_rows(carrier=["AA", "UA"], origin=["JFK", "EWR"])
    local = rows.to_pandas()
    local["event_timestamp"] = local["event_timestamp"].dt.tz_convert("America/New_York")
    naive = rows.to_pandas()
    naive["event_timestamp"] = naive["event_timestamp"].dt.tz_localize(None)
    features = ["carrier_delays:delay", "origin_weather:temperature"]
    answers = [
        store.get_historical_features(entity_df=entities, features=features)
        .to_arrow()
        .select(["delay", "temperature"])
        .to_pylist()
        for entities in (rows, local, naive)
    ]
    assert answers[0] == answers[1] == answers[2]
    assert answers[0] == [{"delay": None, "temperature": 10.0}, {"delay": 2.5, "temperature": 11.0}]


def test_the_only_timestamp_column_is_the_instant(store: FeatureStore) -> None:
    rows = entity_rows(carrier=["AA"]).rename_columns(["carrier", "as_of"])
    answer = store.get_historical_features(entity_df=rows, features=["carrier_delays:flights"]).to_df()
    assert list(answer.columns) == ["carrier", "as_of", "flights"]
    assert answer["flights"].tolist() == [5]


def test_full_feature_names_and_metadata(store: FeatureStore) -> None:
    job = store.get_historical_features(
        entity_df=entity_rows(carrier=["AA"]), features=["carrier_delays:flights"], full_feature_names=True
    )
    assert job.to_arrow().column_names == ["carrier", "event_timestamp", "carrier_delays__flights"]
    assert job.metadata is not None
    assert job.metadata.features == ["carrier_delays:flights"]
    assert job.metadata.keys == ["carrier"]
    assert job.metadata.min_event_timestamp == clock(1)


def test_a_job_runs_when_it_is_asked(tmp_path: Path, store: FeatureStore) -> None:
    job = store.get_historical_features(entity_df=entity_rows(carrier=["AA"]), features=["carrier_delays:flights"])
    corrected = {"carrier": ["AA"], "flights": [9], "delay": [9.0], "day": [1]}
    write_view(tmp_path, "carrier_delays", corrected, mode="overwrite")
    assert job.to_arrow().column("flights").to_pylist() == [9]


def test_mapped_columns_are_read_under_their_own_names(tmp_path: Path, store: FeatureStore) -> None:
    uri = write_view(tmp_path, "mapped", {"CARRIER": ["AA"], "n": [4], "day": [0]})
    mapping = {"CARRIER": "carrier", "n": "planes"}
    view = FeatureView(
        name="fleet",
        entities=[CARRIER],
        ttl=timedelta(0),
        schema=[Field(name="carrier", dtype=String), Field(name="planes", dtype=Int64)],
        source=source("fleet", uri, field_mapping=mapping),
    )
    apply_definitions(store, [CARRIER, view])
    answer = store.get_historical_features(
        entity_df=entity_rows(day=300, carrier=["AA", "UA"]), features=["fleet:planes"]
    ).to_arrow()
    assert answer.column("planes").to_pylist() == [4, None]
    assert materialize(store, ["fleet"], clock(0), clock(1)) == {"fleet": 1}
    online = store.get_online_features(["fleet:planes"], [{"carrier": "AA"}]).to_dict()
    assert online["planes"] == [4]


def test_a_view_without_entities_has_one_value_for_everybody(tmp_path: Path, store: FeatureStore) -> None:
    uri = write_view(tmp_path, "weather", {"storm": [1, 2], "day": [0, 2]})
    view = FeatureView(
        name="weather",
        ttl=timedelta(days=1),
        schema=[Field(name="storm", dtype=Int64)],
        source=source("weather", uri),
    )
    apply_definitions(store, [view])
    rows = pa.table({"event_timestamp": pa.array([clock(2), clock(0), clock(4)], INSTANT)})
    answer = store.get_historical_features(entity_df=rows, features=["weather:storm"]).to_arrow()
    assert answer.column("storm").to_pylist() == [2, 1, None]
    assert materialize(store, ["weather"], clock(0), clock(2)) == {"weather": 1}
    both = store.get_online_features(["weather:storm", "carrier_delays:delay"], [{"carrier": "AA"}])
    assert both.to_dict()["storm"] == [2]


def test_one_view_joined_under_two_names(store: FeatureStore) -> None:
    view = store.get_feature_view("origin_weather")
    departure = view.with_name("departure_weather")
    arrival = view.with_name("arrival_weather").with_join_key_map({"origin": "dest"})
    apply_definitions(store, [FeatureService(name="both_ends", features=[departure, arrival])])
    answer = store.get_historical_features(
        entity_df=entity_rows(origin=["JFK"], dest=["EWR"]),
        features=store.get_feature_service("both_ends"),
        full_feature_names=True,
    ).to_arrow()
    assert answer.column("departure_weather__temperature").to_pylist() == [10.0]
    assert answer.column("arrival_weather__temperature").to_pylist() == [11.0]


def test_on_demand_views_are_refused_because_feast_pickles_them(store: FeatureStore) -> None:
    def delayed(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"delayed": inputs["delay"] > 15})

    delays = store.get_feature_view("carrier_delays")
    schema = [Field(name="delayed", dtype=Bool)]
    view = on_demand_feature_view(sources=[delays], schema=schema, mode="pandas")(delayed)
    with pytest.raises(LifecycleError, match="functions pickled in its registry; compute them"):
        apply_definitions(store, [view])
    store.apply([view])
    with pytest.raises(LifecycleError, match=r"\['delayed'\] are not supported"):
        store.get_historical_features(entity_df=entity_rows(carrier=["UA"]), features=["delayed:delayed"])


def test_no_entity_rows_give_no_rows_with_the_right_columns(store: FeatureStore) -> None:
    empty = entity_rows(carrier=["AA"], origin=["JFK"]).slice(0, 0)
    answer = store.get_historical_features(
        entity_df=empty, features=["carrier_delays:delay", "origin_weather:temperature"]
    ).to_arrow()
    assert answer.num_rows == 0
    assert answer.schema.field("temperature").type == pa.float64()


def test_categorical_keys_are_compared_as_text(store: FeatureStore) -> None:
    rows = entity_rows(carrier=["AA", "UA"]).to_pandas().astype({"carrier": "category"})
    answer = store.get_historical_features(entity_df=rows, features=["carrier_delays:delay"]).to_df()
    assert answer["delay"].tolist()[1] == 2.5


@pytest.mark.parametrize(
    ("entities", "message"),
    [
        ("SELECT 1", "given as str are not supported"),
        (None, "without entity rows is not supported"),
        (entity_rows(airline=["AA"]), r"lack the join keys \['carrier'\]"),
        (entity_rows(carrier=["AA"], flights=[1]), r"named like features: \['flights'\]"),
        (pa.table({"carrier": ["AA"]}), "0 timestamp columns"),
        (pa.table({"carrier": ["AA"], "event_timestamp": ["today"]}), "is string, not a timestamp"),
        (
            pa.table({"carrier": ["AA"], "event_timestamp": pa.array([None], INSTANT)}),
            "null in 1 rows; drop them",
        ),
    ],
)
def test_entity_rows_that_cannot_be_joined_are_refused(store: FeatureStore, entities: Any, message: str) -> None:
    with pytest.raises(LifecycleError, match=message):
        store.get_historical_features(entity_df=entities, features=["carrier_delays:flights"])


def test_writing_and_other_sources_are_refused(tmp_path: Path, store: FeatureStore) -> None:
    job = store.get_historical_features(entity_df=entity_rows(carrier=["AA"]), features=["carrier_delays:flights"])
    with pytest.raises(LifecycleError, match=r"audited publishes; write with include/lake/lake.py"):
        job.persist(SavedDatasetFileStorage(str(tmp_path / "saved.parquet")))
    frame = entity_rows(carrier=["AA"]).to_pandas().assign(flights=1, delay=1.0, created_timestamp=clock(1))
    with pytest.raises(LifecycleError, match="writing to feature view 'carrier_delays' through Feast"):
        store.write_to_offline_store("carrier_delays", frame, reorder_columns=False)
    parquet = FileSource(name="loose", path=str(tmp_path / "x.parquet"), timestamp_field="event_timestamp")
    tail = Entity(name="tail", join_keys=["tail"], value_type=ValueType.STRING)
    view = FeatureView(
        name="loose",
        entities=[tail],
        schema=[Field(name="tail", dtype=String), Field(name="seats", dtype=Int64)],
        source=parquet,
    )
    store.apply([tail, view])
    with pytest.raises(LifecycleError, match="'loose' is not a Delta table; declare FileSource"):
        store.get_historical_features(entity_df=entity_rows(tail=["N1"]), features=["loose:seats"])


def as_parquet(uri: str) -> str:
    """Write the rows of a Delta table to one Parquet file, with the ending by which Feast knows Parquet."""
    path = f"{uri}.parquet"
    pq.write_table(DeltaTable(uri).to_pyarrow_table(), path)
    return path


def test_agrees_with_feasts_own_duckdb_store(tmp_path: Path, store: FeatureStore) -> None:
    """Compare with Feast's own DuckDB store on rows that are never created late, where both mean the same.

    Feast's store reads the rows from Parquet, because reading Delta needs a DuckDB extension that is
    downloaded at run time.
    """
    count = 200
    carriers = [f"carrier {n % 7}" for n in range(count)]
    days = [n * 37 % 60 for n in range(count)]
    unique = {(carrier, day): n for n, (carrier, day) in enumerate(zip(carriers, days, strict=True))}
    history: dict[str, list[Any]] = {
        "carrier": [carrier for carrier, _ in unique],
        "flights": list(unique.values()),
        "delay": [n / 4 for n in unique.values()],
        "day": [day for _, day in unique],
    }
    origins = {"origin": ["JFK", "EWR", "JFK"], "temperature": [1.0, 2.0, 3.0], "day": [3, 20, 40]}
    uris = [write_view(tmp_path, "many", history), write_view(tmp_path, "origins", origins)]
    theirs = FeatureStore(
        config=RepoConfig(
            project="theirs",
            registry={"registry_type": "sql", "path": f"sqlite:///{tmp_path / 'theirs.db'}"},
            provider="local",
            offline_store={"type": "duckdb"},
            online_store={"type": "sqlite", "path": str(tmp_path / "theirs_online.db")},
            entity_key_serialization_version=3,
        )
    )
    rows = pd.DataFrame(
        {
            "row": range(300),
            "carrier": [f"carrier {n % 9}" for n in range(300)],
            "origin": [("JFK", "EWR", "LGA")[n % 3] for n in range(300)],
            "event_timestamp": [clock(n % 71) for n in range(300)],
        }
    )
    features = ["carrier_delays:flights", "carrier_delays:delay", "origin_weather:temperature"]
    answers = []
    for each, addresses in ((store, uris), (theirs, [as_parquet(uri) for uri in uris])):
        each.apply([CARRIER, ORIGIN, carrier_view(addresses[0], days=5), origin_view(addresses[1])])
        answer = each.get_historical_features(entity_df=rows.copy(), features=features).to_df()
        answers.append(answer.sort_values("row", ignore_index=True))
    pd.testing.assert_frame_equal(answers[0], answers[1], check_dtype=False)
    assert answers[0]["flights"].notna().sum() > 50
