"""Stop and start of the stack: no data is lost, and the stack works afterwards."""

from __future__ import annotations

import psutil
import pytest

from include.registry import model_versions
from tests.e2e.conftest import DAYS, Backfilled
from tests.e2e.deployment import CASE, Deployment
from tests.waiting import HANGS_AFTER_S

pytestmark = pytest.mark.e2e


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
