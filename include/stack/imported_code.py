"""Code that a parent process has imported for its children, unless it was edited since."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType


class ImportedPackage:
    """The modules of a package that this process has imported, with when each file was last written.

    A process forked later starts with these modules. If one of their files has been edited or removed by then,
    all of them are dropped in the child, which imports what it needs as it is now; half of them would be of
    neither state.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._written = {file: _written(file) for module in self._modules().values() if (file := module.__file__)}

    def drop_if_edited_in_children(self) -> None:
        """Look at the files again in every process forked from this one and from its children."""
        os.register_at_fork(after_in_child=self.drop_if_edited)

    def drop_if_edited(self) -> None:
        """Forget the modules if a file of theirs is not what was imported."""
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
