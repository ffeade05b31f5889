"""Folders and addresses with odd characters work, or are refused at start in one sentence."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa

from include.core.engine import engine
from include.core.errors import SettingsError
from include.core.places import place
from include.core.settings import Settings
from include.lake.lake import Lake
from include.lake.records import Attempt
from include.stack.environment import service_environ
from include.stack.layout import Layout

ODD = [
    "my project ü",
    "a%b",
    "100%",
    "a#b",
    "a+b",
    "a&b",
    "~x",
    "a~b",
    "a'b",
    "a{b}",
    "a;b",
    "a=b",
    "日本",
    "e\u0301",
    " a",
]
UNFIT = ["a?b", "a*b", "[ab]", "a%20b", "a%2Fb", "a\\b", "a\nb", 'a"b', "a$b", "a`b"]
TABLE, DAY = "flights/raw/tiny", "2013-01-01"
NEEDED = (
    *("LIFECYCLE_LAKE_ROOT", "LIFECYCLE_REPORTS_ROOT", "LIFECYCLE_WORK_ROOT", "LIFECYCLE_ONLINE_STORE"),
    *("LIFECYCLE_FEAST_REGISTRY", "LIFECYCLE_OPTUNA_STORAGE", "LIFECYCLE_SOURCE_CACHE", "MLFLOW_TRACKING_URI"),
)
SETTINGS = dict.fromkeys(NEEDED, "/srv/state")


@pytest.mark.parametrize("name", ODD)
def test_a_lake_in_an_odd_folder(tmp_path: Path, name: str) -> None:
    """C30: Delta gives percent-encoded addresses, which were used as paths."""
    lake = Lake(place(str(tmp_path / name / "lake")))
    by = Attempt("flights", "flights_ingest", "r", 1, "code")
    rows = pa.table({"id": [1, 2], "ds": [DAY, DAY]})
    lake.publish(lake.stage(TABLE, rows.to_reader(), [DAY], by, ["id"]), by)
    (path,) = lake.paths(TABLE, [DAY]) or []
    assert Path(path).is_relative_to(tmp_path / name)
    with engine(1, "1GB") as con:
        listed = path.replace("'", "''")
        assert con.execute(f"SELECT id FROM read_parquet('{listed}') ORDER BY id").fetchall() == [(1,), (2,)]
    assert lake.dataset(TABLE).count_rows() == 2
    assert lake.tables("flights") == [TABLE]
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", UNFIT)
def test_a_folder_that_programs_read_differently_is_refused(name: str) -> None:
    """C30: a[b] is a pattern to DuckDB, a%20b is another folder to Delta, $ and quotes reach a shell."""
    with pytest.raises(SettingsError, match=r"^LIFECYCLE_LAKE_ROOT is .*; .* use another folder$"):
        Settings.from_environ({**SETTINGS, "LIFECYCLE_LAKE_ROOT": f"/srv/{name}/lake"})
    with pytest.raises(SettingsError, match=r"^LIFECYCLE_HOME is .*; .* use another folder$"):
        Layout.from_environ({"LIFECYCLE_HOME": f"/srv/{name}/home"})


def test_a_tilde_is_the_home_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C30: a lake root ~/lake made a folder called ~."""
    monkeypatch.setenv("HOME", str(tmp_path))
    found = Settings.from_environ({**SETTINGS, "LIFECYCLE_LAKE_ROOT": "~/lake/", "LIFECYCLE_ONLINE_STORE": "~/online"})
    assert (found.lake_root, found.online_store) == (f"{tmp_path}/lake", f"{tmp_path}/online")
    assert Layout.from_environ({"LIFECYCLE_HOME": "~/state"}).home == tmp_path.resolve() / "state"
    for read in (
        lambda: Settings.from_environ({**SETTINGS, "LIFECYCLE_LAKE_ROOT": "~nobody_here/lake"}),
        lambda: Layout.from_environ({"LIFECYCLE_HOME": "~nobody_here"}),
    ):
        with pytest.raises(SettingsError, match="no user of that name"):
            read()


def test_a_relative_folder_is_refused() -> None:
    with pytest.raises(SettingsError, match="LIFECYCLE_LAKE_ROOT is 'lake'; processes run in different folders"):
        Settings.from_environ({**SETTINGS, "LIFECYCLE_LAKE_ROOT": "lake"})


@pytest.mark.parametrize(
    "address",
    ["s3://bucket/a#b", "s3://bucket/a b", "s3://bucket/ü", "s3://bucket/a%20b", "s3://bucket/a?b", "s3://bucket/a//b",
     "s3://bucket/../other", "s3://bucket/a+b", "s3://bucket/a&b", "s3://bucket/~a", "s3:///lake"],
)  # fmt: skip
def test_an_address_that_programs_write_differently_is_refused(address: str) -> None:
    """C30: a prefix with # wrote outside the lake, space and umlaut gave raw errors."""
    with pytest.raises(SettingsError, match=r"^LIFECYCLE_LAKE_ROOT is .*; programs write other characters differently"):
        Settings.from_environ({**SETTINGS, "LIFECYCLE_LAKE_ROOT": address})


@pytest.mark.parametrize("address", ["s3://bucket", "s3://bucket/lake/", "s3://my-bucket.eu/team=a/lake_1.0"])
def test_a_plain_address(address: str) -> None:
    assert Settings.from_environ({**SETTINGS, "LIFECYCLE_LAKE_ROOT": address}).lake_root == address.rstrip("/")


@pytest.mark.parametrize("name", ODD)
def test_addresses_of_databases_lead_to_the_socket(tmp_path: Path, name: str) -> None:
    """C30: below a folder with + or & the databases were not found."""
    layout = Layout.from_environ({"LIFECYCLE_HOME": str(tmp_path / name)})
    environ = service_environ(layout, {}, {})
    for setting in ("LIFECYCLE_FEAST_REGISTRY", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "MLFLOW_BACKEND_STORE_URI"):
        assert sa.make_url(environ[setting]).query == {"host": str(layout.socket_folder)}
