"""The private names of Feast behave as the feature store uses them."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pytest
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.data_format import DeltaFormat
from feast.infra.offline_stores.offline_store import RetrievalJob
from feast.infra.online_stores.sqlite import SqliteOnlineStore
from feast.repo_config import RepoConfig
from feast.types import Float64, Int64, String

from include.feature_store import feast_private
from include.feature_store.offline_store import AsofRetrievalJob

CARRIER = Entity(name="carrier", join_keys=["carrier"], value_type=ValueType.STRING)
CLOCK = datetime(2013, 11, 2, 4, tzinfo=UTC)


def a_view(name: str = "delays", created: str = "made", field_mapping: dict[str, str] | None = None) -> FeatureView:
    source = FileSource(
        name=name,
        path="/lake/delays",
        file_format=DeltaFormat(),
        timestamp_field="at",
        created_timestamp_column=created,
        field_mapping=field_mapping,
    )
    kinds = {"carrier": String, "flights": Int64, "mean": Float64}
    fields = [Field(name=column, dtype=kind) for column, kind in kinds.items()]
    return FeatureView(name=name, source=source, schema=fields, entities=[CARRIER])


def test_the_installed_version_was_checked() -> None:
    assert version("feast") == feast_private.CHECKED_VERSION, (
        f"feast {version('feast')} is installed, its private names were checked in {feast_private.CHECKED_VERSION}: "
        "read the functions that include/feature_store/feast_private.py imports from feast.utils, the connection and "
        "`teardown` of SqliteOnlineStore, and the abstract methods of RetrievalJob; run this file and "
        "tests/unit/test_*line_store.py; then raise CHECKED_VERSION"
    )


def test_requested_features_are_grouped_by_view_in_their_order() -> None:
    one, two = a_view("one"), a_view("two")
    found = feast_private.requested_features(["two:mean", "one:flights", "two:flights"], [one, two])
    assert {view.name: features for view, features in found.items()} == {
        "one": ["flights"],
        "two": ["mean", "flights"],
    }


def test_source_columns_are_those_of_the_table() -> None:
    assert feast_private.source_columns(a_view(), [CARRIER]) == (["carrier"], ["flights", "mean"], "at", "made")
    renamed = a_view(field_mapping={"n": "flights", "airline": "carrier"})
    assert feast_private.source_columns(renamed, [CARRIER]) == (["airline"], ["n", "mean"], "at", "made")
    assert not feast_private.source_columns(a_view(created=""), [CARRIER])[3]


def test_rows_become_keys_values_and_instants() -> None:
    instants = pa.array([CLOCK], pa.timestamp("us", "UTC"))
    row = pa.table({"carrier": ["AA"], "flights": [3], "mean": [None], "at": instants, "made": instants})
    row = row.set_column(2, "mean", pa.array([None], pa.float64()))
    other = row.set_column(0, "carrier", pa.array(["UA"]))
    found = feast_private.online_rows(pa.concat_tables([row, other]), a_view())
    assert [key.entity_values[0].string_val for key, *_ in found] == ["AA", "UA"]
    key, values, event, created = found[0]
    assert list(key.join_keys) == ["carrier"]
    assert (values["flights"].int64_val, values["mean"].WhichOneof("val")) == (3, None)
    assert {event.replace(tzinfo=UTC), created.replace(tzinfo=UTC)} == {CLOCK}


class CountingSqliteOnlineStore(feast_private.ConnectedSqliteStore):
    """A store that notes the files that it opens."""

    def __init__(self) -> None:
        self.opened: list[str] = []

    def open_connection(self, path: str, config: RepoConfig) -> sqlite3.Connection:
        self.opened.append(path)
        return sqlite3.connect(path)


def test_the_sqlite_store_uses_our_connection_and_closes_it(tmp_path: Path) -> None:
    path = str(tmp_path / "online.db")
    kept = {"type": "include.feature_store.online_store.GuardedSqliteOnlineStore", "path": path}
    config = RepoConfig(
        project="p", registry=str(tmp_path / "r.db"), online_store=kept, entity_key_serialization_version=3
    )
    store = CountingSqliteOnlineStore()
    connection = store.connection(config)
    assert store._get_conn(config) is SqliteOnlineStore._get_conn(store, config) is connection
    assert store.opened == [path]
    store.teardown(config, [], [])
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")
    assert not Path(path).exists()


def test_a_retrieval_job_has_nothing_left_to_implement() -> None:
    assert not AsofRetrievalJob.__abstractmethods__
    assert {"_to_arrow_internal", "_to_df_internal"} <= set(dir(RetrievalJob))
