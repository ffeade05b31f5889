"""Remove what a use case has left behind, once its folder is gone: lake, reports, Feast, MLflow, searches.

Each part is listed before anything is deleted, and deleted by its name alone, since there is no spec any more. A
removal that was cut off is finished by the next one. Files of models in MLflow's artifact store, and Airflow's DAGs,
belong to their servers: ``mlflow gc`` deletes the former, ``include.stack.remove_case`` the latter.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import optuna
import pyarrow.fs as pafs
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from include.core.errors import ConfError
from include.core.settings import Settings
from include.feature_store import feast_store
from include.lake.lake import Lake
from include.spec import loading
from include.steps import maintenance

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True)
class Part:
    """Something of a use case that is still there: where, what, and how to delete it."""

    where: str
    what: str
    delete: Callable[[], None]


def leftovers(settings: Settings, name: str) -> list[Part]:
    """Return what there still is of the use case ``name``, in the order in which to delete it.

    Raises:
        ConfError: it is no name of a use case, or its folder is still there, so that its DAGs could write again.
    """
    if not _NAME.fullmatch(name):
        raise ConfError(f"{name!r} is no name of a use case; write it as in its spec, such as flights")
    folder = loading.folder_of(name)
    if folder is not None:
        raise ConfError(
            f"{name}: its folder {folder} is still there, so its DAGs run and would write again. Stop its DAG runs, "
            "move the folder away (or take it out of LIFECYCLE_USE_CASES), and remove it then"
        )
    found = [*_of_mlflow(settings, name), *_of_searches(settings, name), *_of_feast(settings, name)]
    return [*found, *_of_folders(settings, name), *_of_lake(settings, name)]


def _of_lake(settings: Settings, name: str) -> list[Part]:
    lake = Lake(settings.lake_root)
    tables = lake.tables(name)
    filesystem, base = lake.files()
    # the tables last: a removal that is cut off still finds what they belong to
    folders = [f"{base}/{folder}/{name}" for folder in maintenance.OLD_FOLDERS] + [f"{base}/{name}"]
    there = [info.path for info in filesystem.get_file_info(folders) if info.type is pafs.FileType.Directory]

    def delete() -> None:
        for folder in there:
            filesystem.delete_dir(folder)

    if not there:
        return []
    return [Part(settings.lake_root, f"{len(tables)} tables with all of their rows and records, and stages", delete)]


def _of_folders(settings: Settings, name: str) -> list[Part]:
    found = []
    for root, what in ((settings.reports_root, "reports"), (settings.work_root, "intermediate files")):
        folders = [folder for folder in sorted(Path(root).glob(f"*/{name}")) if folder.is_dir()]
        if folders:
            found.append(
                Part(root, f"{what}: {', '.join(folder.parent.name for folder in folders)}", _deleting(folders))
            )
    return found


def _deleting(folders: list[Path]) -> Callable[[], None]:
    def delete() -> None:
        for folder in folders:
            if folder.is_symlink():
                folder.unlink()
            else:
                shutil.rmtree(folder)

    return delete


def _of_feast(settings: Settings, name: str) -> list[Part]:
    views = feast_store.registered_views(settings, name)
    if views is None:
        return []
    what = f"project {name} with {len(views)} views, and their online values"
    return [Part("Feast", what, lambda: feast_store.remove_project(settings, name))]


def _of_mlflow(settings: Settings, name: str) -> list[Part]:
    client = MlflowClient(settings.mlflow_tracking_uri)
    found = []
    try:
        versions = client.search_model_versions(f"name = '{name}'")
        client.get_registered_model(name)
    except MlflowException:
        pass
    else:
        what = f"registered model {name} with {len(versions)} versions"
        found.append(Part("MLflow", what, lambda: client.delete_registered_model(name)))
    experiment = client.get_experiment_by_name(name)
    if experiment is not None and experiment.lifecycle_stage == "active":

        def delete() -> None:
            # MLflow keeps the name of a deleted experiment: a new use case of this name could not begin
            client.rename_experiment(experiment.experiment_id, f"{name}, removed {datetime.now(UTC):%Y-%m-%d %H:%M:%S}")
            client.delete_experiment(experiment.experiment_id)

        found.append(Part("MLflow", f"experiment {name} (kept as deleted until `mlflow gc`)", delete))
    return found


def _of_searches(settings: Settings, name: str) -> list[Part]:
    # a study is called by use case, training set and search; names of use cases have no hyphen
    studies = [one for one in optuna.get_all_study_names(settings.optuna_storage) if one.startswith(f"{name}-")]

    def delete() -> None:
        for study in studies:
            optuna.delete_study(study_name=study, storage=settings.optuna_storage)

    return [Part("Optuna", f"{len(studies)} studies", delete)] if studies else []
