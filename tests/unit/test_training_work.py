"""The work folder holds nothing that cannot be made again while no task runs."""

from __future__ import annotations

import shutil
from pathlib import Path

from include.steps.train import search
from include.steps.train.search import search_here
from include.training.study.results import trials_table
from tests.unit import promotion_case


def test_a_search_and_its_fit_go_on_without_the_work_folder(tmp_path: Path) -> None:
    workspace = promotion_case.workspace(tmp_path)
    by = promotion_case.attempt()
    frozen = promotion_case.freeze(workspace, by)
    work = Path(workspace.settings.work_root)
    storage, name = workspace.settings.optuna_storage, search.study_of(workspace, frozen)

    search_here(workspace, frozen, trials=1)
    assert any((work / "searches" / "flights").rglob("kept/trial-0000"))
    first = trials_table(storage, name)
    shutil.rmtree(work)

    search_here(workspace, frozen)
    assert trials_table(storage, name).slice(0, 1) == first
    assert search.progress(workspace, frozen).done == workspace.case.training.trials
    shutil.rmtree(work)

    fitted = search.fit(workspace, frozen, by)
    assert Path(fitted.model_dir).is_relative_to(work)
    assert not Path(workspace.settings.reports_root).exists()
