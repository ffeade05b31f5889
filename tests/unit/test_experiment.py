"""An experiment stands beside the champion, which predicts the same rows, and changes nothing of its path."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from include.steps.score import predicting
from include.steps.train import experiment
from include.steps.workspace import Workspace
from include.training.judging.evidence import MODEL
from include.training.model import EVIDENCE, read_evidence
from tests.unit import chain


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return chain.copy(chain.trained(), tmp_path_factory.mktemp("experiments"))


@pytest.fixture(scope="module")
def made(workspace: Workspace) -> tuple[experiment.Experiment, Path]:
    return experiment.run(workspace, chain.AS_OF, trials=1)


def registered(workspace: Workspace) -> int:
    return len(MlflowClient(workspace.settings.mlflow_tracking_uri).search_model_versions("name = 'autumn'"))


def test_the_champion_predicts_the_same_rows(workspace: Workspace, made: tuple[experiment.Experiment, Path]) -> None:
    """It was trained on this very set, so its figures are those of its own evidence."""
    best = experiment.champion(workspace, made[0])
    assert isinstance(best, experiment.Judged)
    folder = predicting.model_folder(workspace, 1)
    evidence = read_evidence(folder)
    assert (best.name, best.metrics, best.remark) == ("champion 1", evidence.metrics[MODEL], "")
    assert (best.first_day, best.last_day, best.rows) == (evidence.first_day, evidence.last_day, evidence.rows)
    assert best.features == made[0].judged.features


def test_nothing_is_registered_and_no_table_changes(workspace: Workspace) -> None:
    before, versions = chain.versions(workspace.lake), registered(workspace)
    # the set of this day and content is frozen already
    experiment.run(workspace, chain.AS_OF, trials=1, again=True)
    assert (chain.versions(workspace.lake), registered(workspace)) == (before, versions)


def test_the_report_has_one_row_a_model(workspace: Workspace, made: tuple[experiment.Experiment, Path]) -> None:
    longer, folder = experiment.run(workspace, chain.AS_OF, trials=2)
    lines = experiment.report(workspace, longer, folder)
    head, *models = lines[1:5]
    assert head.split()[:2] == list(longer.judged.metrics)[:2]
    assert [line.split()[0] for line in models] == ["this", "champion", made[1].name]
    assert lines[-1] == f"evidence: {folder / 'model' / EVIDENCE}"
    assert (folder / "model" / EVIDENCE).exists()


def test_a_champion_that_cannot_be_used_is_said(
    workspace: Workspace, made: tuple[experiment.Experiment, Path], tmp_path: Path
) -> None:
    settings = workspace.settings.model_copy(update={"trusted_keys": str(tmp_path)})
    said = experiment.report(Workspace(settings, workspace.case), *made)
    assert any(line.startswith("champion 1 cannot be judged on these rows: ") for line in said)


def test_features_that_differ_are_named() -> None:
    this = experiment.Judged(
        name="this", family="ridge", features=("a", "b"), first_day="1", last_day="2", rows=3, metrics={}
    )
    other = this.model_copy(update={"name": "champion 4", "features": ("b", "c"), "remark": "has learnt from 1 of 2"})
    lines = experiment.table(this, [other])
    assert [line.split("ridge")[1].split() for line in lines[1:3]] == [["2"], ["2", "+c", "-a"]]
    assert lines[3] == "champion 4 has learnt from 1 of 2, which favours it"
