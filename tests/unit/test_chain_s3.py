"""The lake on object storage: S3 holds what a folder would, and refuses whom a folder would refuse.

The S3 is moto's, a server of its own process, since Delta's log keeps Python waiting while it reads.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import boto3
import pyarrow as pa
import pyarrow.fs as pafs
import pytest
from deltalake import DeltaTable

from include.core import partitions
from include.core.errors import AuditFailed, LateAttempt, PromotionConflict, StaleStage
from include.feature_store.history import History
from include.feature_store.point_in_time import all_values
from include.lake.appending import append
from include.lake.lake import Lake
from include.steps import features, maintenance, monitor, publishing
from include.steps.handover import Stages
from include.steps.score import predicting
from include.steps.train import training_sets
from include.steps.workspace import Workspace
from tests.unit import chain

DAY = "2013-11-08"
SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """Start a server with an empty bucket and return its address; the environment leads to it as in production."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    port = int(server.stdout.readline())
    with pytest.MonkeyPatch.context() as environ:
        environ.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        environ.setenv("AWS_ALLOW_HTTP", "true")
        environ.setenv("AWS_ACCESS_KEY_ID", "nobody")
        environ.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
        environ.setenv("AWS_REGION", "us-east-1")
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="lifecycle")
        try:
            yield "s3://lifecycle"
        finally:
            server.communicate("")


@pytest.fixture
def empty(bucket: str, tmp_path: Path) -> Workspace:
    """Open a deployment whose lake is an empty folder of the bucket."""
    return Workspace(
        chain.settings_in(tmp_path).model_copy(update={"lake_root": f"{bucket}/{tmp_path.name}"}), chain.autumn()
    )


@pytest.fixture(scope="module")
def moved(bucket: str, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Copy the files of the trained lake to the bucket one by one."""
    folder = tmp_path_factory.mktemp("moved")
    local = chain.copy(chain.trained(), folder)
    there, base = Lake(f"{bucket}/moved").files()
    pafs.copy_files(local.settings.lake_root, base, pafs.LocalFileSystem(), there)
    return Workspace(local.settings.model_copy(update={"lake_root": f"{bucket}/moved"}), local.case)


def test_a_landed_day_has_the_content_that_it_has_in_a_folder(empty: Workspace) -> None:
    chain.land(empty, DAY, DAY, chain.attempt(DAY))
    in_folder = chain.fingerprints(chain.landed().lake)
    found = chain.fingerprints(empty.lake)
    assert found == {name: in_folder[name] for name in found}
    assert {table for table, _ in found} >= {empty.case.table("raw", name) for name in empty.case.raw}
    before = chain.versions(empty.lake)
    chain.land(empty, DAY, DAY, chain.attempt("again"))
    assert chain.versions(empty.lake) == before


def test_a_column_may_be_added_there(empty: Workspace) -> None:
    """Old and new files are read by Arrow, whose rows DuckDB and the point-in-time join take, at old versions too."""
    table, lake = "autumn/features/tiny", empty.lake
    instants = pa.array([partitions.clock(DAY, "UTC")], pa.timestamp("us", "UTC"))
    old = pa.table({"id": [1], "at": instants, "ds": [DAY]})
    new = pa.table({"id": [2], "at": instants, "worth": [7.0], "ds": ["2013-11-09"]})
    for rows in (old, new):
        by = chain.attempt(rows["ds"][0].as_py())
        lake.publish(lake.stage(table, rows.to_reader(), rows["ds"].to_pylist(), by, ("id",)), by)
    delta, earlier = lake.open(table), lake.open(table, 1)
    columns = pa.schema(delta.schema().to_arrow())

    def worth(opened: DeltaTable) -> list[float | None]:
        found = History("tiny", lake.uri(table), (("id", "id"),), (("worth", "w"),), "at", table=opened, later=columns)
        with empty.connect() as con:
            return sorted(all_values(con, found, None, None)["w"].to_pylist(), key=str)

    with empty.connect() as con:
        empty.attach(con, "tiny", table, [DAY, "2013-11-09"])
        assert con.execute("SELECT id, worth FROM tiny ORDER BY id").fetchall() == [(1, None), (2, 7.0)]
    assert (worth(delta), worth(earlier)) == ([7.0, None], [None])


def test_rows_that_fail_their_audit_are_not_published(empty: Workspace) -> None:
    table = empty.case.table("features", next(iter(empty.case.features.views)))
    by = chain.attempt("wrong", "autumn_features")
    rows = pa.table({"ds": [DAY], "nothing": pa.array([1], pa.int64())})
    stages = Stages(folders={table: empty.lake.stage(table, rows.to_reader(), [DAY], by, ()).path})
    with pytest.raises(AuditFailed):
        publishing.audit(empty, stages, by)
    assert empty.lake.version(table) is None


def test_features_predictions_and_verdicts_are_those_of_a_folder(moved: Workspace) -> None:
    before = chain.versions(moved.lake)
    by = chain.attempt(DAY, "autumn_score")
    for stages in (
        features.stage(moved, chain.span(DAY), by),
        predicting.stage(moved, chain.span(DAY), predicting.AS_OF_CLOCK, by),
    ):
        publishing.audit(moved, stages, by)
        publishing.publish(moved, stages, by)
    assert chain.versions(moved.lake) == before
    verdicts = monitor.stage(moved, chain.span(DAY), by)
    publishing.audit(moved, verdicts, by)
    assert publishing.publish(moved, verdicts, by).changed["autumn/monitoring/verdicts"] == 1


def test_features_materialize_from_it(moved: Workspace) -> None:
    features.apply_definitions(moved)
    assert features.materialize(moved, chain.span(DAY)).views == len(moved.case.features.views)


def test_a_training_set_is_frozen_and_read_back(moved: Workspace) -> None:
    frozen = training_sets.freeze(moved, chain.AS_OF, chain.attempt("freeze", "autumn_train"))
    assert training_sets.load(frozen).table.num_rows == frozen.rows
    made = moved.lake.records(frozen.table)[chain.AS_OF]
    assert training_sets.rebuild(moved, frozen.table, frozen.version) == made.fingerprint


def test_of_writers_of_one_partition_one_wins(empty: Workspace) -> None:
    """C21: the stages of the others were made before the partition changed."""
    lake, table, writers = empty.lake, "autumn/raw/outcomes", 4
    chain.land(empty, DAY, DAY, chain.attempt(DAY))
    rows = lake.dataset(table, [DAY]).to_table()
    attempts = [chain.attempt(f"writer {value}") for value in range(1, writers + 1)]
    stages = [
        lake.stage(table, rows.slice(value).to_reader(), [DAY], by, ("dest",)) for value, by in enumerate(attempts, 1)
    ]
    refused: list[StaleStage] = []

    def publish(value: int) -> None:
        try:
            Lake(lake.root).publish(stages[value], attempts[value])
        except StaleStage as error:
            refused.append(error)

    before = lake.version(table)
    threads = [threading.Thread(target=publish, args=(value,)) for value in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (lake.version(table), len(refused)) == (before + 1, writers - 1)


def test_an_overtaken_attempt_publishes_nothing(empty: Workspace) -> None:
    table, rows = "autumn/raw/outcomes", pa.table({"ds": [DAY], "value": pa.array([1], pa.int64())})
    first, second = chain.attempt("one"), chain.attempt("one", number=2)
    late = empty.lake.stage(table, rows.to_reader(), [DAY], first, ())
    empty.lake.publish(empty.lake.stage(table, rows.to_reader(), [DAY], second, ()), second)
    with pytest.raises(LateAttempt):
        empty.lake.publish(late, first)


def test_a_ledger_has_one_next_entry(empty: Workspace) -> None:
    table, entry = "autumn/ledger/promotions", pa.table({"version": pa.array([1], pa.int64())})
    assert append(empty.lake, table, entry, DAY, chain.attempt("one"), expected=0) == 1
    with pytest.raises(PromotionConflict):
        append(empty.lake, table, entry, DAY, chain.attempt("two"), expected=0)


def test_maintenance_deletes_what_nobody_reads(empty: Workspace) -> None:
    table, kept = "autumn/raw/outcomes", pa.table({"ds": [DAY], "value": pa.array([2], pa.int64())})
    for value in (1, 2):
        by = chain.attempt(f"value {value}")
        rows = pa.table({"ds": [DAY], "value": pa.array([value], pa.int64())})
        stages = Stages(folders={table: empty.lake.stage(table, rows.to_reader(), [DAY], by, ()).path})
        chain.publish(empty, stages, by)
    found = {table: 1, "stages": 4}  # the replaced file; a stage and a claim of each run
    assert maintenance.vacuum(empty, retention_hours=0, dry_run=True) == found
    assert maintenance.vacuum(empty, retention_hours=0, dry_run=False) == found
    assert maintenance.vacuum(empty, retention_hours=0, dry_run=True) == {}
    assert empty.lake.dataset(table).to_table().select(kept.column_names) == kept
