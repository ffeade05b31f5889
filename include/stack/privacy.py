"""Closing the state folder to other users: lake, models, reports and logs belong to the owner of the stack."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

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
    """Take every right of other users from what lies in the state folder, and all but the way through from itself.

    An earlier release left them readable. Folders below stay as they are: nobody reaches them. The folders of
    PostgreSQL belong to the server's user, who needs the right to pass through the state folder itself.
    """
    layout.home.chmod(layout.home.stat().st_mode & ~(PRIVATE & ~0o001))
    for path in layout.home.iterdir():
        # files of the online store come and go while tasks run
        with suppress(FileNotFoundError):
            if path in (layout.postgres, layout.socket_folder) or path.is_symlink():
                continue
            if path.stat().st_uid == os.getuid():
                path.chmod(path.stat().st_mode & ~PRIVATE)
