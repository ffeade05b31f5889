"""Registration makes one version, whatever is interrupted or repeated, and files are what was signed."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from include.accelerators import tracking
from include.core.errors import DigestMismatch, LifecycleError, NoChampion, SignatureRefused
from include.registry import model_versions
from include.registry.registration import Challenger, TrainedOn
from include.training.model import digest
from tests.unit import signing_case


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # creating MLflow's tables takes seconds; each test then copies the file
    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> str:
    (tmp_path / "mlflow.db").write_bytes(empty_store.read_bytes())
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    MlflowClient(uri).create_experiment("flights", artifact_location=str(tmp_path / "artifacts"))
    return uri


@pytest.fixture
def challenger(tmp_path: Path) -> Challenger:
    folder = tmp_path / "trained"
    (folder / "trees").mkdir(parents=True)
    (folder / "manifest.json").write_text('{"family": "lightgbm"}')
    (folder / "trees" / "0.txt").write_text("tree")
    return Challenger(
        use_case="flights",
        model_dir=folder,
        digest=digest(folder),
        trained_on=TrainedOn("training_set", "f" * 64, "/lake/flights/training_set", 3, 100, {"hour": "int64"}),
        trained_through="2013-10-29",
        study="flights-ab12",
        seed=0,
        code_version="c0ffee",
        dag_run_id="manual__1",
        params={"num_leaves": 20},
        metrics={"log_loss": 0.45, "auc": None},
        inputs={"hour": "long", "carrier": "string"},
        output="disrupted",
        requirements=["lightgbm==4.7.0"],
        trials=[{"number": 0, "log_loss": 0.47}, {"number": 1, "log_loss": 0.45, "state": "COMPLETE"}],
        evidence={"days": 28},
    )


def versions(store: str) -> list[Any]:
    return list(MlflowClient(store).search_model_versions("name = 'flights'"))


def runs(store: str) -> list[Any]:
    client = MlflowClient(store)
    return list(client.search_runs([client.get_experiment_by_name("flights").experiment_id]))


def test_an_experiment_deleted_in_the_ui_is_restored(store: str, challenger: Challenger) -> None:
    """C36: a search must not end in an experiment that takes no MLflow run."""
    client = MlflowClient(store)
    first = model_versions.register(store, challenger, signing_case.signer())
    experiment = client.search_runs([found.experiment_id for found in client.search_experiments()])[
        0
    ].info.experiment_id
    client.delete_experiment(experiment)
    assert model_versions.register(store, challenger, signing_case.signer()).number == first.number
    other = model_versions.register(store, replace(challenger, study="flights-cd34"), signing_case.signer())
    assert other.number == first.number + 1
    assert len(runs(store)) == 2
    assert client.get_experiment(experiment).lifecycle_stage == "active"


def test_the_workers_of_a_deleted_experiment_are_recorded(store: str) -> None:
    """C36: the experiment of the workers, too."""
    client = MlflowClient(store)
    client.delete_experiment(client.create_experiment("flights_workers"))
    assert tracking.begin(store, "flights_workers", "worker 0", {}).run_id


def test_a_registration_records_everything_that_rebuilds_the_model(
    store: str, challenger: Challenger, tmp_path: Path
) -> None:
    version = model_versions.register(store, challenger, signing_case.signer())
    assert (version.number, version.digest, version.trained_through) == (1, challenger.digest, "2013-10-29")
    assert version.tags["training_set_version"] == "3"
    (run,) = runs(store)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"log_loss": 0.45}
    assert run.data.params == {"num_leaves": "20"}
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("training_set", "f" * 36)
    client = MlflowClient(store)
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"evidence.json", "trials.csv"}
    (output,) = run.outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    assert (model.status, model.tags["mlflow.modelVersions"]) == (
        "READY",
        '[{"name": "flights", "version": "1"}]',
    )
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".pkl", ".pickle", ".joblib")]


def test_registering_again_makes_no_second_version(store: str, challenger: Challenger) -> None:
    assert model_versions.register(store, challenger, signing_case.signer()) == model_versions.register(
        store, challenger, signing_case.signer()
    )
    assert len(versions(store)) == len(runs(store)) == 1


def test_another_model_is_another_version(store: str, challenger: Challenger) -> None:
    model_versions.register(store, challenger, signing_case.signer())
    assert model_versions.register(store, replace(challenger, seed=1), signing_case.signer()).number == 2


def fail_once(monkeypatch: pytest.MonkeyPatch, method: str, *, after: bool) -> None:
    """Make one call of a client's method answer an error, before or after the server did its work."""
    original, failed = getattr(MlflowClient, method), []

    def flaky(self: MlflowClient, *args: Any, **kwargs: Any) -> Any:
        if failed:
            return original(self, *args, **kwargs)
        failed.append(True)
        if after:
            original(self, *args, **kwargs)
        raise MlflowException("connection reset")

    monkeypatch.setattr(MlflowClient, method, flaky)


STEPS = ["create_run", "log_inputs", "log_artifacts", "create_logged_model", "log_model_artifacts"]
STEPS += ["log_outputs", "finalize_logged_model", "set_logged_model_tags", "set_terminated"]


@pytest.mark.parametrize("after", [False, True], ids=["lost request", "lost answer"])
@pytest.mark.parametrize("step", STEPS)
def test_an_interrupted_registration_is_completed_not_repeated(
    store: str, challenger: Challenger, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    fail_once(monkeypatch, step, after=after)
    # a link that MLflow has, though it did not say so, needs no second attempt
    goes_on = step == "log_outputs" and after
    with nullcontext() if goes_on else pytest.raises(LifecycleError, match="run the registration again"):
        model_versions.register(store, challenger, signing_case.signer())
    assert model_versions.register(store, challenger, signing_case.signer()).number == 1
    assert len(versions(store)) == len(runs(store)) == 1
    assert [run.info.status for run in runs(store)] == ["FINISHED"]


def test_an_error_after_the_version_was_committed_creates_no_second_one(
    store: str, challenger: Challenger, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_once(monkeypatch, "create_model_version", after=True)
    assert model_versions.register(store, challenger, signing_case.signer()).number == 1
    assert len(versions(store)) == 1


def test_a_changed_folder_is_not_registered(store: str, challenger: Challenger) -> None:
    (challenger.model_dir / "trees" / "0.txt").write_text("another tree")
    with pytest.raises(DigestMismatch):
        model_versions.register(store, challenger, signing_case.signer())
    assert not runs(store)


def test_fetching_gives_the_signed_files_and_downloads_once(
    store: str, challenger: Challenger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_versions.register(store, challenger, signing_case.signer())
    folder = model_versions.fetch(store, "flights", 1, tmp_path / "cache", signing_case.trusted())
    assert (folder / "trees" / "0.txt").read_text() == "tree"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [challenger.digest]
    monkeypatch.setattr(model_versions, "download", lambda *_: pytest.fail("downloaded again"))
    assert model_versions.fetch(store, "flights", 1, tmp_path / "cache", signing_case.trusted()) == folder


@pytest.mark.parametrize("where", ["artifacts", "cache"])
def test_tampered_files_are_refused(store: str, challenger: Challenger, tmp_path: Path, where: str) -> None:
    model_versions.register(store, challenger, signing_case.signer())
    if where == "cache":
        model_versions.fetch(store, "flights", 1, tmp_path / "cache", signing_case.trusted())
    (file,) = (tmp_path / where).rglob("0.txt")
    file.write_text("another tree")
    with pytest.raises(DigestMismatch):
        model_versions.fetch(store, "flights", 1, tmp_path / "cache", signing_case.trusted())


def test_the_champion_alias_follows(store: str, challenger: Challenger) -> None:
    with pytest.raises(NoChampion, match="flights_train"):
        model_versions.champion(store, "flights")
    model_versions.register(store, challenger, signing_case.signer())
    with pytest.raises(NoChampion):
        model_versions.champion(store, "flights")
    model_versions.set_alias_champion(store, "flights", 1)
    assert model_versions.champion(store, "flights").number == 1


def test_an_unknown_version_is_named(store: str, tmp_path: Path) -> None:
    with pytest.raises(LifecycleError, match="version 7 is not registered"):
        model_versions.fetch(store, "flights", 7, tmp_path, signing_case.trusted())


def test_a_version_of_someone_else_is_refused(store: str) -> None:
    client = MlflowClient(store)
    client.create_registered_model("flights")
    client.create_model_version("flights", "/elsewhere")
    with pytest.raises(SignatureRefused, match="lacks the tag digest and trained_through"):
        model_versions.version_info(store, "flights", 1)
