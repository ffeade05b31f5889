"""A pickle that is planted among a model's files is never loaded, by us or through MLflow."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import pytest
from mlflow import pyfunc
from mlflow.exceptions import MlflowException

from include.core.errors import DigestMismatch, LifecycleError
from include.training.model import MANIFEST, digest, load_model
from tests.unit import promotion_case as given


class Planted:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    there = given.workspace(tmp_path_factory.mktemp("fitted"))
    return Path(given.fit(there).model_dir)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "ran"


@pytest.fixture
def model(fitted: Path, tmp_path: Path, mark: Path) -> Path:
    """Copy a real model, and put a pickle beside and in place of each of its files but the manifest."""
    folder = tmp_path / "model"
    shutil.copytree(fitted, folder)
    bomb = pickle.dumps(Planted(mark))
    for path in [path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST]:
        path.write_bytes(bomb)
        path.with_suffix(".pkl").write_bytes(bomb)
    (folder / "python_model.pkl").write_bytes(bomb)
    return folder


def test_the_pickle_works(mark: Path) -> None:
    """Else the tests below could not fail."""
    pickle.loads(pickle.dumps(Planted(mark)))  # noqa: S301 - what the project never does
    assert mark.exists()


def test_changed_files_are_refused_before_they_are_read(fitted: Path, model: Path, mark: Path) -> None:
    with pytest.raises(DigestMismatch):
        load_model(model, digest(fitted))
    assert not mark.exists()


def test_a_pickle_in_place_of_the_model_is_not_unpickled(model: Path, mark: Path) -> None:
    """Even with the digest of the planted files, which whoever can write to MLflow can register."""
    with pytest.raises((LifecycleError, ValueError, KeyError)):
        load_model(model, digest(model))
    assert not mark.exists()


@pytest.mark.parametrize("flavor", ["python_model: python_model.pkl", "model_path: python_model.pkl"])
def test_mlflow_does_not_unpickle_either(model: Path, mark: Path, flavor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    loader = "mlflow.pyfunc.model" if flavor.startswith("python_model") else "mlflow.sklearn"
    (model / "MLmodel").write_text(
        f"flavors:\n  python_function:\n    loader_module: {loader}\n    {flavor}\n"
        "    cloudpickle_version: 3.0.0\n    python_version: 3.11.0\n"
        "  sklearn: {pickled_model: python_model.pkl, serialization_format: pickle, sklearn_version: 1.0}\n",
        encoding="utf-8",
    )
    with pytest.raises(MlflowException, match=r"(?i)pickle"):
        pyfunc.load_model(str(model))
    assert not mark.exists()
