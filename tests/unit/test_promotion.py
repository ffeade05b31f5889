"""The champion changes once, with its evidence, and goes back when asked."""

from __future__ import annotations

import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from mlflow import MlflowClient

from include.accelerators import tracking
from include.accelerators.usage import Usage
from include.core.errors import ConfError, LifecycleError, PromotionConflict, TrainingError
from include.core.settings import Settings
from include.lake.lake import Lake
from include.promotion import ledger
from include.promotion.reproduction import TOLERANCE, Reproduction, measure
from include.registry import files, model_versions
from include.spec.use_case import UseCase
from include.steps.handover import Promoted, Proposal, Registered
from include.steps.promote import deciding, reproducing
from include.steps.train import registering
from include.steps.workspace import Workspace
from include.training.model import MANIFEST, load_model
from tests.unit import promotion_case as given
from tests.unit import signing_case

WORKER = Usage(
    place="local",
    device="cpu",
    seconds=2.0,
    gpu_seconds=0.0,
    cpu_seconds=1.5,
    peak_rss_gb=0.25,
    peak_vram_gb=None,
    utilisation=0.5,
    cost_usd=None,
)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two registered versions: the second saw the same law in other rows, and both are sound."""
    made = given.workspace(tmp_path_factory.mktemp("promotion"))
    uri = made.settings.mlflow_tracking_uri
    MlflowClient(uri).create_experiment("flights_workers", str(tmp_path_factory.mktemp("workers")))
    for attempt in ("1", "2"):
        tags = {"dag_run_id": f"seed-0-{given.AS_OF}", "attempt": attempt}
        worker = tracking.begin(uri, "flights_workers", "search 0", tags)
        tracking.record(worker, WORKER)
        tracking.end(worker, succeeded=attempt == "2")
    given.train(made)
    given.train(made, seed=1, as_of="2013-04-10")
    return made


@pytest.fixture
def two(origin: Workspace, tmp_path: Path) -> Workspace:
    """Return the two versions, with an empty ledger and a store of MLflow that the test may change."""
    folder = Path(origin.settings.lake_root).parent
    for name in ("lake", "artifacts", "work"):
        if (folder / name).exists():
            shutil.copytree(folder / name, tmp_path / name)
    shutil.copy(folder / "mlflow.db", tmp_path / "mlflow.db")
    return Workspace(Settings.in_folder(tmp_path, **signing_case.shared()), origin.case)


@pytest.fixture
def same_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measures in this process what two tests measure in a new one, which takes seconds."""

    def reproduce(there: Workspace, version: int) -> Reproduction:
        folder = files.folder_of(there.settings, there.case.name, version)
        return measure(folder, load_model(folder), 1)

    monkeypatch.setattr(reproducing, "reproduce", reproduce)


def test_attempts_that_register_at_once_make_one_version(tmp_path: Path) -> None:
    """As when an attempt that was taken for dead goes on beside its successor."""
    there = given.workspace(tmp_path)
    fitted, together = given.fit(there), threading.Barrier(3)

    def register(attempt: int) -> Registered:
        together.wait()
        return registering.register(there, fitted, given.attempt(number=attempt))

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(register, (1, 2, 3)))
    assert {one.version for one in found} == {"1"}
    client = MlflowClient(there.settings.mlflow_tracking_uri)
    assert [one.version for one in client.search_model_versions("name = 'flights'")] == [1]
    (run,) = client.search_runs([client.get_experiment_by_name("flights").experiment_id])
    assert run.info.status == "FINISHED"


def proposal(version: int, entries: int, **values: Any) -> Proposal:
    made = {"kind": "promotion", "version": version, "entries": entries, "change": True, "reason": "better"}
    return Proposal.model_validate({**made, **values})


def promoted(there: Workspace, *versions: int) -> None:
    for entries, version in enumerate(versions):
        deciding.promote(there, proposal(version, entries), "auto", given.attempt("promote", str(entries)))


def champions(there: Workspace) -> list[int]:
    return [entry.version for entry in ledger.promotions(there.lake, there.case)]


def test_the_first_challenger_is_judged_and_promoted_with_its_evidence(two: Workspace) -> None:
    judged = deciding.propose(two, "1", given.attempt("promote"))
    assert judged.change
    found = deciding.promote(two, judged, "auto", given.attempt("promote"))
    assert found == Promoted(version=1, reason="there is no champion yet")
    (entry,) = ledger.promotions(two.lake, two.case)
    assert (entry.kind, entry.decided_by, entry.previous, entry.trained_through) == (
        "promotion",
        "auto",
        None,
        "2013-04-02",
    )
    assert '"n_days":10' in entry.evidence
    assert model_versions.champion(two.settings.mlflow_tracking_uri, "flights").number == 1
    (written,) = Path(two.settings.reports_root).rglob("version-1.md")
    assert "A new process reproduced 400 stored predictions" in written.read_text()


@pytest.mark.usefixtures("same_process")
def test_a_version_shows_what_its_search_used_lost_attempts_included(two: Workspace) -> None:
    client = MlflowClient(two.settings.mlflow_tracking_uri)
    found = [client.get_run(client.get_model_version("flights", str(n)).run_id).data.metrics for n in (1, 2)]
    assert (found[0]["usage/workers"], found[0]["usage/seconds"], found[0]["usage/peak_rss_gb"]) == (2, 4.0, 0.25)
    assert "usage/workers" not in found[1], "a training whose workers recorded nothing"


@pytest.mark.usefixtures("same_process")
def test_the_first_champion_is_compared_with_the_baselines_unless_the_spec_waives_it_in_words(two: Workspace) -> None:
    judged = deciding.propose(two, "1", given.attempt("promote"))
    assert "| log\\_loss minus that of constant | -0." in judged.body
    gates = two.case.gates.model_copy(update={"baselines_waived": "nobody has a better idea"})
    waived = Workspace(two.settings, two.case.model_copy(update={"gates": gates}))
    judged = deciding.propose(waived, "1", given.attempt("promote"))
    assert "minus that of constant" not in judged.body
    assert "it need not be better than the baselines: nobody has a better idea" in judged.body


def test_a_challenger_meets_the_champion_on_the_same_rows(two: Workspace) -> None:
    promoted(two, 1)
    judged = deciding.propose(two, None, given.attempt("promote"))
    assert (judged.version, judged.entries) == (2, 1)
    assert "| log\\_loss |" in judged.body
    assert "model\\_card.html" in judged.body or "model_card.html" in judged.body


def test_the_champion_itself_is_not_judged_again_and_its_alias_is_mended(two: Workspace) -> None:
    promoted(two, 1)
    uri = two.settings.mlflow_tracking_uri
    MlflowClient(uri).delete_registered_model_alias("flights", "champion")
    judged = deciding.propose(two, "1", given.attempt("promote"))
    assert not judged.change
    assert "is the champion already" in judged.reason
    assert model_versions.champion(uri, "flights").number == 1


def test_of_two_promotions_at_once_one_wins_and_the_other_changes_nothing(two: Workspace) -> None:
    first, second = proposal(1, 0), proposal(2, 0)
    deciding.promote(two, first, "auto", given.attempt("promote", "first"))
    with pytest.raises(
        PromotionConflict, match=r"version 2 was judged against entry 0.*meanwhile version 1.*judge again"
    ):
        deciding.promote(two, second, "auto", given.attempt("promote", "second"))
    assert champions(two) == [1]
    assert model_versions.champion(two.settings.mlflow_tracking_uri, "flights").number == 1


def test_the_race_is_decided_at_the_commit_too(two: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    read = ledger.promotions

    def and_then_the_other_is_quicker(lake: Lake, case: UseCase) -> list[ledger.Promotion]:
        found = read(lake, case)
        if not found:
            entry = ledger.Promotion(1, 1, "2013-04-02", None, "auto", "{}")
            ledger.record(two.lake, two.case, entry, given.attempt("promote", "other"))
        return found

    monkeypatch.setattr(ledger, "promotions", and_then_the_other_is_quicker)
    with pytest.raises(PromotionConflict):
        deciding.promote(two, proposal(2, 0), "auto", given.attempt("promote", "mine"))
    monkeypatch.undo()
    assert champions(two) == [1]


def test_promoting_again_after_a_kill_writes_no_second_entry(two: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(model_versions, "set_alias_champion", killed)
    with pytest.raises(KeyboardInterrupt):
        deciding.promote(two, proposal(1, 0), "auto", given.attempt("promote"))
    monkeypatch.undo()
    deciding.promote(two, proposal(1, 0), "auto", given.attempt("promote", number=2))
    assert champions(two) == [1]
    assert model_versions.champion(two.settings.mlflow_tracking_uri, "flights").number == 1


@pytest.mark.usefixtures("same_process")
def test_a_rollback_returns_to_a_former_champion_from_a_day_on(two: Workspace) -> None:
    promoted(two, 1, 2)
    back = deciding.propose_rollback(two, "1", "2013-05-01")
    deciding.promote(two, back, "Ada", given.attempt("promote", "back"))
    entries = ledger.promotions(two.lake, two.case)
    assert (entries[-1].kind, entries[-1].version, entries[-1].previous) == ("rollback", 1, 2)
    assert (entries[-1].decided_by, entries[-1].since) == ("Ada", "2013-05-01")
    # what version 2 scored before the rollback is still what scoring those days again gives
    of_day = {
        key: ledger.champion_of(entries, key, "flights").version for key in ("2013-04-05", "2013-04-30", "2013-05-01")
    }
    assert of_day == {"2013-04-05": 1, "2013-04-30": 2, "2013-05-01": 1}
    assert model_versions.champion(two.settings.mlflow_tracking_uri, "flights").number == 1


@pytest.mark.usefixtures("same_process")
def test_without_a_day_a_rollback_counts_from_the_first_day_that_is_not_scored(two: Workspace) -> None:
    promoted(two, 1, 2)
    assert deciding.propose_rollback(two, "1", None).since == "2013-04-03"
    rows = pa.table({"prediction": [0.5], "ds": ["2013-04-20"]})
    stage = two.lake.stage("flights/predictions/scores", rows.to_reader(), ["2013-04-20"], given.attempt(), ())
    two.lake.publish(stage, given.attempt())
    assert deciding.propose_rollback(two, "1", None).since == "2013-04-21"


@pytest.mark.usefixtures("same_process")
def test_what_was_rolled_back_is_not_promoted_again_by_its_old_evidence(two: Workspace) -> None:
    promoted(two, 1, 2)
    deciding.promote(two, deciding.propose_rollback(two, "1", "2013-05-01"), "Ada", given.attempt("promote", "back"))
    judged = deciding.propose(two, None, given.attempt("promote", "again"))
    assert not judged.change
    assert "version 2 was rolled back; only a rollback to 2" in judged.reason
    deciding.promote(two, deciding.propose_rollback(two, "2", "2013-05-02"), "Ada", given.attempt("promote", "forth"))
    assert champions(two) == [1, 2, 1, 2]
    assert ledger.withdrawn(ledger.promotions(two.lake, two.case)) == {1}


@pytest.mark.usefixtures("same_process")
@pytest.mark.parametrize(
    ("to", "since", "message"),
    [
        ("7", None, "version 7 never was champion; a rollback can return to: 1, 2"),
        ("2", None, "version 2 is the champion; there is nothing to roll back"),
        ("1", "2013-04-01", "has learnt from days up to 2013-04-02 and cannot score from 2013-04-01"),
    ],
)
def test_a_rollback_that_makes_no_sense_is_refused(two: Workspace, to: str, since: str | None, message: str) -> None:
    promoted(two, 1, 2)
    with pytest.raises(ConfError, match=message):
        deciding.propose_rollback(two, to, since)
    assert champions(two) == [1, 2]


def test_an_unknown_version_is_named(two: Workspace) -> None:
    with pytest.raises(LifecycleError, match="version 9 is not registered"):
        deciding.propose(two, "9", given.attempt("promote"))


def test_without_any_version_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(LifecycleError, match="run flights_train first"):
        deciding.propose(given.workspace(tmp_path), None, given.attempt("promote"))


def test_a_model_that_predicts_otherwise_than_where_it_was_judged_is_not_promoted(origin: Workspace) -> None:
    folder = files.folder_of(origin.settings, origin.case.name, 1)
    found = measure(folder, load_model(folder), 1)
    assert found.rows == 400
    assert found.largest_difference == 0.0
    assert found.megabytes > 0
    other = measure(folder, load_model(files.folder_of(origin.settings, origin.case.name, 2)), 1)
    assert other.largest_difference > TOLERANCE


def test_a_difference_in_the_new_process_stops_the_promotion(two: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Reproduction(rows=400, largest_difference=0.25, microseconds_per_row=1.0, megabytes=1.0)

    class Done:
        returncode, stdout, stderr = 0, answer.model_dump_json(), ""

    monkeypatch.setattr(subprocess, "run", lambda *_, **__: Done)
    with pytest.raises(TrainingError, match=r"version 1: a new process predicts up to 0.25 away"):
        deciding.propose(two, "1", given.attempt("promote"))
    assert champions(two) == []


def test_a_model_that_does_not_load_in_a_new_process_is_not_promoted(two: Workspace) -> None:
    manifest = files.folder_of(two.settings, two.case.name, 1) / MANIFEST
    manifest.write_text(manifest.read_text() + " ")
    with pytest.raises(TrainingError, match=r"version 1 cannot be loaded in a new process.*DigestMismatch"):
        deciding.propose(two, "1", given.attempt("promote"))
    assert champions(two) == []


@pytest.mark.usefixtures("same_process")
def test_leaks_stop_a_promotion(tmp_path: Path) -> None:
    there = given.workspace(tmp_path)
    rows = given.rows()
    # a column that is null exactly where the label is 1: assigned only to what went well
    tail = pc.if_else(pc.equal(rows["disrupted"], 1), pa.scalar(None, pa.float64()), rows["noise"])
    number = given.train(there, table=rows.append_column("tail", tail))
    judged = deciding.propose(there, str(number), given.attempt("promote"))
    assert not judged.change
    assert "auc of feature tail being null" in judged.reason
