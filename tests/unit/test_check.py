"""`make check` tries a use case before anything is stored, and names the first thing that cannot work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from include.core.errors import SpecError, TrainingError
from include.spec import loading
from include.spec.use_case import UseCase
from include.steps import check
from tests.unit import shop_case as given

LAST = "2024-06-30"


def found(case: UseCase, folder: Path) -> list[str]:
    return list(check.check(given.workspace(folder / "lake", case), LAST))


def changed(case: UseCase, **training: object) -> UseCase:
    return case.model_copy(update={"training": case.training.model_copy(update=training)})


def test_a_sound_use_case_is_told_its_rows_and_its_features(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv(loading.MORE_FOLDERS, str(given.FOLDER))
    monkeypatch.chdir(tmp_path)
    assert check.main(["--use-case", "shop"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in said] == ["source", "features", "labels", "spec", "shop"]
    assert "2024-06-10..2024-06-30 landed and audited; rows: plan 126, sales 126" in said[0]
    assert "30 rows of 2024-06-21..2024-06-25" in said[2]
    assert said[3] == (
        "spec: label sold; 4 features that are numbers: offer, weekday, sold_mean_7d, sold_days_7d; categorical: shop"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_label_that_is_no_number_is_found(tmp_path: Path) -> None:
    labels = (given.FOLDER / "shop/sql/training/labels.sql").read_text(encoding="utf-8")
    case = given.shop_with(tmp_path, labels=labels.replace("s.sold,", "'many' AS sold,"))
    with pytest.raises(TrainingError, match=r"label sold is string, not a number"):
        found(case, tmp_path)


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"categorical": ["shopp"]}, "training.categorical names 'shopp', which is no column; did you mean \"shop\""),
        ({"slices": ["town"]}, "training.slices names 'town', which is no column"),
        ({"label": "sould"}, "labels.sql gives no column 'sould'; did you mean \"sold\""),
    ],
)
def test_a_name_that_is_nowhere_is_found(tmp_path: Path, training: dict[str, object], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        found(changed(given.shop(), **training), tmp_path)


def test_text_that_is_not_categorical_is_found(tmp_path: Path) -> None:
    entities = (given.FOLDER / "shop/sql/training/entities.sql").read_text(encoding="utf-8")
    case = given.shop_with(tmp_path, entities=entities.replace("s.offer", "s.offer, 'red' AS colour"))
    with pytest.raises(TrainingError, match=r"columns are not numbers: colour \(string\); list them under categorical"):
        found(case, tmp_path)


def test_labels_that_never_meet_a_row_are_found(tmp_path: Path) -> None:
    labels = (given.FOLDER / "shop/sql/training/labels.sql").read_text(encoding="utf-8")
    case = given.shop_with(tmp_path, labels=labels.replace("s.shop,", "upper(s.shop) || '!' AS shop,"))
    with pytest.raises(SpecError, match=r"no row of 2024-06-21\.\.2024-06-25 has a label"):
        found(case, tmp_path)


def test_an_unknown_name_says_where_was_looked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(loading.MORE_FOLDERS, str(given.FOLDER))
    assert check.main(["--use-case", "shp"]) == 1
    said = capsys.readouterr().err
    assert 'did you mean "shop"' in said
    assert os.fspath(given.FOLDER) in said
    assert loading.MORE_FOLDERS in said
