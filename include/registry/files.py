"""The verified record and files of a registered version: fetched once, checked at every use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from include.core.settings import Settings
from include.registry import keys, model_versions

if TYPE_CHECKING:
    from include.promotion.ledger import Promotion


def version_of(
    settings: Settings, use_case: str, version: int, entry: Promotion | None = None
) -> model_versions.Version:
    """Return the record of a version, whose signature is verified; ``entry`` is the ledger's entry that promoted it.

    Raises:
        SignatureRefused: a trusted key has not signed it for this name, number and tags, or the ledger names another.
        LifecycleError: there is no such version.
    """
    trusted = keys.trusted(settings)
    return model_versions.verified(settings.mlflow_tracking_uri, use_case, version, trusted, entry)


def folder_of(settings: Settings, use_case: str, version: int, entry: Promotion | None = None) -> Path:
    """Return the folder of a version's files, which have the signed digest.

    Raises:
        SignatureRefused: see :func:`version_of`.
        DigestMismatch: the files do not have the signed digest.
        LifecycleError: there is no such version, or its files are gone.
    """
    cache = Path(settings.work_root) / "models"
    trusted = keys.trusted(settings)
    return model_versions.fetch(settings.mlflow_tracking_uri, use_case, version, cache, trusted, entry)
