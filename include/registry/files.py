"""A registered version's files on this machine: fetched once, verified at every use, loaded without pickle."""

from __future__ import annotations

from pathlib import Path

from include.core.settings import Settings
from include.registry import model_versions
from include.training.model import LoadedModel, load_model


def folder_of(settings: Settings, use_case: str, version: int) -> Path:
    """The folder of a version's verified files.

    Raises:
        DigestMismatch: the files are not the registered ones.
        LifecycleError: there is no such version, or its files are gone.
    """
    cache = Path(settings.work_root) / "models"
    return model_versions.fetch(settings.mlflow_tracking_uri, use_case, version, cache)


def load(settings: Settings, use_case: str, version: int) -> LoadedModel:
    """The model of a version; raises like :func:`folder_of`."""
    return load_model(folder_of(settings, use_case, version))
