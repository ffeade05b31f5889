"""A registered version's files on this machine: fetched once, verified at every use, loaded without pickle."""

from __future__ import annotations

from pathlib import Path

from include import registry
from include.training.model import LoadedModel, load_model
from include.workspace import Workspace


def folder_of(workspace: Workspace, version: int) -> Path:
    """The folder of a version's verified files.

    Raises:
        DigestMismatch: the files are not the registered ones.
        LifecycleError: there is no such version, or its files are gone.
    """
    cache = Path(workspace.settings.source_cache).parent / "models"
    return registry.fetch(workspace.settings.mlflow_tracking_uri, workspace.case.name, version, cache)


def load(workspace: Workspace, version: int) -> LoadedModel:
    """The model of a version; raises like :func:`folder_of`."""
    return load_model(folder_of(workspace, version))
