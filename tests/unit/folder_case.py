"""Loading a use case from a folder, as a deployment would that names the folder in its settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.spec import loading
from include.spec.use_case import UseCase


def load_from(folder: Path, name: str) -> UseCase:
    """Load the use case ``name`` while ``folder`` is the one more folder of use cases."""
    with pytest.MonkeyPatch.context() as environ:
        environ.setenv(loading.MORE_FOLDERS, str(folder))
        return loading.load_use_case(name)
