"""Closing the state folder to other users: lake, models, reports and logs belong to the owner of the stack."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from include.stack.layout import Layout
from include.stack.processes import PRIVATE


@contextmanager
def private_files() -> Iterator[None]:
    """Create files in the block that only their owner can read."""
    before = os.umask(PRIVATE)
    try:
        yield
    finally:
        os.umask(before)


def close_to_others(layout: Layout) -> None:
    """Take every right of other users from what lies in the state folder.

    An earlier release left it readable. Folders below stay as they are: nobody reaches them. The folders of PostgreSQL
    belong to the server's user, who needs the right to pass through the state folder itself.
    """
    for path in layout.home.iterdir():
        if path in (layout.postgres, layout.socket_folder) or path.is_symlink() or path.stat().st_uid != os.getuid():
            continue
        path.chmod(path.stat().st_mode & ~PRIVATE)
