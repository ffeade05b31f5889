"""Modules that a parent process imports for its children, dropped in a child when their files were edited."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType


class ImportedPackage:
    """The modules of a package that this process has imported, with the modification time of each file.

    A process that is forked later starts with these modules. If one of the files was edited or removed in the
    meantime, the child drops all of them and imports today's code. Dropping only the edited ones would mix old and
    new code.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._written = {file: _written(file) for module in self._modules().values() if (file := module.__file__)}

    def drop_if_edited_in_children(self) -> None:
        """Check the files again in every process forked from this one and from its children."""
        os.register_at_fork(after_in_child=self.drop_if_edited)

    def drop_if_edited(self) -> None:
        """Drop all modules of the package if one of their files has changed since the import."""
        if any(_written(file) != written for file, written in self._written.items()):
            for name in self._modules():
                del sys.modules[name]
            self._written.clear()

    def _modules(self) -> dict[str, ModuleType]:
        return {name: module for name, module in sys.modules.items() if name.partition(".")[0] == self.name}


def _written(file: str) -> int | None:
    try:
        return Path(file).stat().st_mtime_ns
    except FileNotFoundError:
        return None
