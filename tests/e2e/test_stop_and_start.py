"""Stop and start of the stack: no data is lost, and the stack works afterwards."""

from __future__ import annotations

import time

import psutil
import pytest

from include.registry import model_versions
from include.stack.services import heartbeats
from tests.e2e.conftest import DAYS, Backfilled
from tests.e2e.deployment import CASE, Deployment
from tests.waiting import HANGS_AFTER_S, until

pytestmark = pytest.mark.e2e


def test_only_the_owner_can_read_what_is_stored(bootstrapped: Deployment) -> None:
    """Lake, models, reports and logs of root were readable by every local user."""
    home, server = bootstrapped.layout.home, {bootstrapped.layout.postgres, bootstrapped.layout.socket_folder}
    # PostgreSQL's user may pass through the state folder, and no more
    assert home.stat().st_mode & 0o076 == 0
    found = [path for top in home.iterdir() if top not in server for path in (top, *top.rglob("*"))]
    open_to_others = [str(path) for path in found if not path.is_symlink() and path.stat().st_mode & 0o077]
    assert len(found) > 100
    assert open_to_others == []
    assert all(folder.stat().st_mode & 0o077 == 0 for folder in server)


def test_a_killed_service_comes_back(bootstrapped: Deployment) -> None:
    """MLflow's child kept the port when its parent was killed, and nothing could start MLflow again."""
    stack = bootstrapped.stack
    (before,) = (state for state in stack.status() if state.name == "mlflow")
    assert before.pid is not None
    psutil.Process(before.pid).kill()

    def back() -> bool:
        (now,) = (state for state in stack.status() if state.name == "mlflow")
        return now.healthy and now.pid != before.pid and now.restarts.startswith("1, last")

    until(back, "MLflow, started again by the supervisor")


def test_up_mends_a_stack_whose_database_was_killed(bootstrapped: Deployment) -> None:
    """The first `make up` failed, and what ended while the database was away stayed down."""
    stack = bootstrapped.stack
    versions, killed_at, postmaster = bootstrapped.versions(), time.time(), stack.postgres.pid()
    assert postmaster is not None
    psutil.Process(postmaster).kill()
    assert stack.up() is False

    def mended() -> bool:
        beats = heartbeats(bootstrapped.layout)
        alive = len(beats) == 4 and all(beat > killed_at for beat in beats.values())
        return alive and all(state.healthy for state in stack.status())

    until(mended, "a heartbeat of each part after the kill")
    assert bootstrapped.versions() == versions


def test_down_and_up_lose_nothing(bootstrapped: Deployment, backfilled: Backfilled) -> None:
    stack = bootstrapped.stack
    uri = bootstrapped.workspace.settings.mlflow_tracking_uri
    versions, champion = bootstrapped.versions(), model_versions.champion(uri, CASE)
    runs = {run["dag_run_id"]: run["state"] for run in bootstrapped.api.runs()}
    processes = [psutil.Process(state.pid) for state in stack.status() if state.pid]
    assert len(processes) == 7
    stack.down()
    _, alive = psutil.wait_procs(processes, timeout=HANGS_AFTER_S)
    assert not alive
    assert all(state.pid is None for state in stack.status())
    assert stack.up() is False, "the secrets stay"
    assert bootstrapped.versions() == versions
    assert {run["dag_run_id"]: run["state"] for run in bootstrapped.api.runs()} == runs
    assert model_versions.champion(uri, CASE) == champion
    bootstrapped.run("score", key=DAYS[0])
    assert bootstrapped.versions() == versions
