"""Storage that fails: a full disk, a read-only lake, an S3 that throttles, denies or loses its answer."""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import boto3
import psycopg2
import pyarrow as pa
import pytest

from include.lake.lake import Lake
from include.lake.records import Attempt
from include.stack.layout import Layout
from include.stack.postgres import Postgres
from include.steps.workspace import Workspace
from tests.faults.faulty_server import Running, running
from tests.faults.processes import run
from tests.unit import promotion_case

pytestmark = pytest.mark.fault

TABLE, DAY, NEXT = "flights/raw/tiny", "2013-11-02", "2013-11-03"


def rows(key: str, count: int) -> pa.Table:
    # text that does not compress
    words = [os.urandom(50).hex() for _ in range(count)]
    return pa.table({"id": pa.array(range(count), pa.int64()), "word": words, "ds": [key] * count})


def publish(lake: Lake, table: pa.Table, run_id: str) -> None:
    (key,) = set(table["ds"].to_pylist())
    by = Attempt("flights", "flights_ingest", run_id)
    stage = lake.stage(TABLE, table.to_reader(), [key], by, ("id",))
    lake.publish(stage, by)
    lake.discard(stage)


# ---- disks --------------------------------------------------------------------------------------------------------


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a disk of so many megabytes; only root may."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0711", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no command `mount`")
    if mounted.returncode:
        pytest.skip(f"only root can mount a small disk: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def fill(folder: Path) -> Path:
    """Fill the disk to the last byte, and return the file that does."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        block = 1 << 16
        while block:
            try:
                file.write(b"x" * block)
            except OSError:
                block //= 2
    return filler


def test_a_full_disk_publishes_nothing_and_leaves_no_stage(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 8) as disk:
        lake = Lake(str(disk / "lake"))
        publish(lake, rows(DAY, 100), "first")
        with pytest.raises(OSError, match="No space left"):
            publish(lake, rows(NEXT, 200_000), "too large")
        assert lake.keys(TABLE) == [DAY]
        assert list((disk / "lake" / "_stages").rglob("*.parquet")) == []
        # the stage that failed was deleted, so there is room for a smaller one
        publish(lake, rows(NEXT, 100), "smaller")
        assert lake.keys(TABLE) == [DAY, NEXT]


def test_a_disk_that_is_full_at_the_commit_publishes_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 8) as disk:
        lake, by = Lake(str(disk / "lake")), Attempt("flights", "flights_ingest", "second")
        publish(lake, rows(DAY, 100), "first")
        stage = lake.stage(TABLE, rows(NEXT, 100).to_reader(), [NEXT], by, ("id",))
        filler = fill(disk)
        with pytest.raises(Exception, match=r"(?i)no space left"):
            lake.publish(stage, by)
        assert (lake.version(TABLE), lake.keys(TABLE)) == (1, [DAY])
        filler.unlink()
        lake.publish(stage, by)
        assert (lake.version(TABLE), lake.keys(TABLE)) == (2, [DAY, NEXT])
        assert lake.dataset(TABLE).to_table().num_rows == 200


def publish_with_small_files(workspace: Workspace) -> None:
    """Publish more than a file may hold."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    publish(workspace.lake, rows(NEXT, 200_000), "too large")


def test_a_file_that_cannot_grow_publishes_nothing(tmp_path: Path) -> None:
    """Without root: the limit of a process on the size of its files stands for the quota of a disk."""
    there = promotion_case.workspace(tmp_path)
    publish(there.lake, rows(DAY, 100), "first")
    ended = run(publish_with_small_files, there)
    assert ended.code == 1
    assert "File too large" in str(ended.error)
    assert there.lake.keys(TABLE) == [DAY]
    assert list((tmp_path / "lake" / "_stages").rglob("*.parquet")) == []


def test_a_read_only_lake_is_read_and_refuses_to_publish(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 8) as disk:
        lake, by = Lake(str(disk / "lake")), Attempt("flights", "flights_ingest", "second")
        publish(lake, rows(DAY, 100), "first")
        stage = lake.stage(TABLE, rows(NEXT, 100).to_reader(), [NEXT], by, ("id",))
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert lake.dataset(TABLE).to_table().num_rows == 100
        with pytest.raises(OSError, match="Read-only file system"):
            lake.stage(TABLE, rows(NEXT, 100).to_reader(), [NEXT], by, ("id",))
        with pytest.raises(OSError, match="Read-only file system"):
            lake.publish(stage, by)
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        assert lake.keys(TABLE) == [DAY]
        lake.publish(stage, by)
        assert lake.keys(TABLE) == [DAY, NEXT]


def insert_until_it_fails(address: str) -> int:
    """Insert row after row, each committed by itself, until PostgreSQL refuses; return how many it has confirmed."""
    confirmed = 0
    with closing(psycopg2.connect(address)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        try:
            while True:
                cursor.execute(
                    "INSERT INTO kept SELECT %s, string_agg(md5(random()::text), '') FROM generate_series(1, 2000)",
                    [confirmed],
                )
                confirmed += 1
        except psycopg2.Error:
            return confirmed


@pytest.mark.slow
def test_postgresql_on_a_full_disk_keeps_what_it_has_confirmed(tmp_path: Path) -> None:
    with small_disk(Path(tempfile.mkdtemp(prefix="faults-")), 160) as disk:
        server = Postgres(Layout(disk / "home"))
        server.start()
        try:
            server.create_databases()
            address = f"host={server.socket_folder} user=postgres dbname=optuna"
            with closing(psycopg2.connect(address)) as connection, connection, connection.cursor() as cursor:
                cursor.execute("CREATE TABLE kept (n int, word text)")
            filler = fill(disk)
            confirmed = insert_until_it_fails(address)
            filler.unlink()
            # it may have ended: the supervisor, or `make up`, starts it again
            server.start()
            with closing(psycopg2.connect(address)) as connection, connection, connection.cursor() as cursor:
                cursor.execute("SELECT count(DISTINCT n) FILTER (WHERE n < %s) FROM kept", [confirmed])
                assert cursor.fetchone() == (confirmed,)
                cursor.execute("INSERT INTO kept VALUES (-1, '')")
        finally:
            server.stop()


# ---- S3 -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    with running("s3", tmp_path) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=f"faults-{server.port}")
        yield server


@pytest.fixture
def lake(s3: Running) -> Lake:
    # pyarrow keeps a client for each root: each test has a server, and so a bucket, of its own
    found = Lake(f"s3://faults-{s3.port}/lake")
    publish(found, rows(DAY, 100), "first")
    return found


def commits(s3: Running, rule: str) -> list[str]:
    """Return the requests that wrote a commit of a Delta log, and whose answer was spoilt."""
    spoilt = s3.spoilt(rule)
    return [one for one in spoilt if one.startswith("PUT ") and "/_delta_log/" in one and one.endswith(".json")]


def test_a_throttled_s3_is_asked_again(s3: Running, lake: Lake) -> None:
    s3.do("throttle")
    publish(lake, rows(NEXT, 100), "second")
    assert commits(s3, "throttle")
    assert lake.keys(TABLE) == [DAY, NEXT]
    assert lake.dataset(TABLE).to_table().num_rows == 200


def test_an_answer_that_s3_lost_after_it_had_written_is_no_second_publish(s3: Running, lake: Lake) -> None:
    """The commit is there, the client is told 500 and asks again: it meets its own commit."""
    s3.do("lose")
    publish(lake, rows(NEXT, 100), "second")
    assert commits(s3, "lose")
    assert (lake.version(TABLE), lake.keys(TABLE)) == (2, [DAY, NEXT])
    assert [record.key for record in lake.history(TABLE)] == [NEXT, DAY]
    assert lake.dataset(TABLE).to_table().num_rows == 200


def test_an_s3_that_denies_publishes_nothing(s3: Running, lake: Lake) -> None:
    by = Attempt("flights", "flights_ingest", "second")
    stage = lake.stage(TABLE, rows(NEXT, 100).to_reader(), [NEXT], by, ("id",))
    s3.do("deny")
    with pytest.raises(Exception, match=r"(?i)forbidden|denied|403"):
        lake.publish(stage, by)
    s3.do("none")
    assert s3.spoilt("deny")
    assert lake.keys(TABLE) == [DAY]
    lake.publish(stage, by)
    assert lake.keys(TABLE) == [DAY, NEXT]
