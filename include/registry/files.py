"""The files of a registered version on this machine: fetched once, checked at every use, loaded without pickle."""

from __future__ import annotations

from pathlib import Path

from include.core.settings import Settings
from include.registry import model_versions
from include.training.model import LoadedModel, load_model


def folder_of(settings: Settings, use_case: str, version: int) -> Path:
    """Return the folder of a version's files, checked by their digest.

    Raises:
        DigestMismatch: the files do not have the registered digest.
        LifecycleError: there is no such version, or its files are gone.
    """
    cache = Path(settings.work_root) / "models"
    return model_versions.fetch(settings.mlflow_tracking_uri, use_case, version, cache)


def load(settings: Settings, use_case: str, version: int) -> LoadedModel:
    """Load the model of a version; raises like :func:`folder_of`."""
    return load_model(folder_of(settings, use_case, version))
