"""What a removed use case has left is listed, deleted after a yes, and nothing of another one."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import optuna
import pytest
from mlflow import MlflowClient

from include.core.errors import ConfError
from include.core.settings import Settings
from include.spec import loading
from include.stack import remove_case
from include.steps import removal
from tests.unit import shop_case as given


@pytest.fixture
def left(tmp_path: Path) -> Settings:
    """Return the settings of a deployment that ran the shop, whose folder is gone, and has a table of another."""
    settings = given.copied(given.chained(), tmp_path).settings
    other = tmp_path / "all" / "lake" / "shop_two" / "raw"
    other.mkdir(parents=True)
    shutil.copytree(tmp_path / "all" / "lake" / "shop" / "raw" / "plan", other / "plan")
    (tmp_path / "all" / "reports" / "data_docs" / "shop_two").mkdir(parents=True)
    return settings


def online_tables(settings: Settings) -> list[str]:
    with sqlite3.connect(settings.online_store) as con:
        return [name for (name,) in con.execute("SELECT name FROM sqlite_master WHERE name LIKE 'shop%'")]


def test_all_of_it_is_listed_and_deleted_and_nothing_of_others(left: Settings) -> None:
    parts = removal.leftovers(left, "shop")
    assert [(part.where, part.what) for part in parts] == [
        ("MLflow", "registered model shop with 1 versions"),
        ("MLflow", "experiment shop (kept as deleted until `mlflow gc`)"),
        ("Optuna", "1 studies"),
        ("Feast", "project shop with 1 views, and their online values"),
        (left.reports_root, "reports: data_docs, drift, model_cards, promotions"),
        (left.work_root, "intermediate files: fits, searches"),
        (left.lake_root, "8 tables with all of their rows and records, and stages"),
    ]
    assert online_tables(left)
    said = list(remove_case.remove("shop", parts, lambda question: "shop"))
    assert said[-1].startswith("deleted  ")
    assert removal.leftovers(left, "shop") == []
    assert online_tables(left) == []
    assert not Path(left.lake_root, "shop").exists()
    assert Path(left.lake_root, "shop_two", "raw", "plan").exists()
    assert Path(left.reports_root, "data_docs", "shop_two").exists()
    assert optuna.get_all_study_names(left.optuna_storage) == []
    # the name is free again
    assert MlflowClient(left.mlflow_tracking_uri).create_experiment("shop")
    assert list(remove_case.remove("shop", [], lambda question: "")) == ["shop: nothing is left of it"]


def test_without_a_yes_nothing_is_deleted(left: Settings) -> None:
    parts = removal.leftovers(left, "shop")
    said = list(remove_case.remove("shop", parts, lambda question: "yes"))
    assert said[-1] == "shop: nothing was deleted"
    assert len(removal.leftovers(left, "shop")) == len(parts)


def test_a_removal_that_was_cut_off_is_finished(left: Settings) -> None:
    for part in removal.leftovers(left, "shop")[::2]:
        part.delete()
    for part in removal.leftovers(left, "shop"):
        part.delete()
    assert removal.leftovers(left, "shop") == []


def test_a_use_case_whose_folder_is_there_is_not_removed(left: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(loading.MORE_FOLDERS, str(given.FOLDER))
    with pytest.raises(ConfError, match=r"its folder .*shop is still there"):
        removal.leftovers(left, "shop")
    with pytest.raises(ConfError, match="is no name of a use case"):
        removal.leftovers(left, "../shop")
