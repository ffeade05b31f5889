"""MLflow answers 500 after it has committed: one version, one MLflow run, one champion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from include.registry import files, model_versions
from include.steps.handover import Proposal
from include.steps.promote import deciding
from include.steps.train import registering
from include.steps.workspace import Workspace
from tests.faults.faulty_server import Running, running
from tests.unit import promotion_case

pytestmark = pytest.mark.fault


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    # as in docker/airflow.env
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    folder = tmp_path / "server"
    folder.mkdir()
    with running("mlflow", folder) as found:
        yield found


def test_answers_that_were_lost_make_no_second_version(server: Running, tmp_path: Path) -> None:
    there = promotion_case.workspace(tmp_path)
    fitted = promotion_case.fit(there)
    uri = f"http://127.0.0.1:{server.port}"
    served = Workspace(there.settings.model_copy(update={"mlflow_tracking_uri": uri}), there.case)
    server.do("lose")
    version = registering.register(served, fitted, promotion_case.attempt()).version
    asked = Proposal(kind="promotion", version=int(version), entries=0, change=True, reason="better", evidence="{}")
    deciding.promote(served, asked, "auto", promotion_case.attempt("promote"))
    server.do("none")
    spoilt = server.spoilt("lose")
    for made in ("runs/create", "model-versions/create"):
        assert any(request.endswith(f"/mlflow/{made}") for request in spoilt), (made, spoilt)
    client = MlflowClient(uri)
    found = client.search_model_versions("name = 'flights'")
    assert [str(one.version) for one in found] == [version]
    (run,) = client.search_runs([client.get_experiment_by_name("flights").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.info.run_id == found[0].run_id
    assert model_versions.champion(uri, "flights").number == int(version)
    files.folder_of(served.settings, "flights", int(version))
