"""Rotation of the services' logs by size, without a restart of the service that writes."""

from __future__ import annotations

import shutil
from pathlib import Path

LIMIT_BYTES = 20 * 2**20
KEPT = 3


def rotate(log: Path, limit: int = LIMIT_BYTES, kept: int = KEPT) -> bool:
    """Move the content of a log above ``limit`` bytes to ``<log>.1``; of earlier ones keep ``kept``.

    The content is copied and the file is cut to nothing, because its writer has the file open. Writers append, so they
    go on at the new end. Lines that are written between copy and cut are lost.
    """
    try:
        if log.stat().st_size <= limit:
            return False
    except FileNotFoundError:
        return False
    for number in range(kept - 1, 0, -1):
        older = numbered(log, number)
        if older.exists():
            older.replace(numbered(log, number + 1))
    shutil.copy(log, numbered(log, 1))
    with log.open("r+b") as file:
        file.truncate(0)
    return True


def numbered(log: Path, number: int) -> Path:
    """Return the file of the ``number``-th last content of a log."""
    return log.with_name(f"{log.name}.{number}")
