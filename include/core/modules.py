"""Import the Python modules of a use case's folder, wherever the folder lies."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

from include.core.errors import SpecError

_PACKAGE = "include.use_cases"


def of_use_case(folder: Path, name: str, field: str) -> ModuleType:
    """Import ``name``: a file of ``folder`` if it has no dot, else a module of the environment.

    The module of a folder is ``include.use_cases.<folder>.<name>``, also where the folder lies outside of the
    repository, so modules of one folder can import each other by that name.

    Args:
        folder: folder of a use case.
        name: name of the module.
        field: what names the module, for the error.

    Raises:
        SpecError: there is no such module. An error inside of it is raised as it is.
    """
    package = import_module(_PACKAGE)
    if str(folder.parent) not in package.__path__:
        package.__path__.append(str(folder.parent))
    full = name if "." in name else f"{_PACKAGE}.{folder.name}.{name}"
    try:
        return import_module(full)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{full}.".startswith(f"{error.name}."):
            raise
        where = f"{folder / name}.py does not exist" if "." not in name else f"{name} is not installed"
        raise SpecError([f"{field}: {where}"]) from None
