"""One holder at a time beside a shared database; the holder's death frees the lock."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa


@contextmanager
def held(engine: sa.Engine, name: str) -> Iterator[None]:
    """Hold off whoever else would hold ``name`` beside the database of ``engine``, until the block ends.

    PostgreSQL locks by name, for the length of a transaction. SQLite has one lock file for all names. What is
    neither has no lock: Feast can keep its registry elsewhere.
    """
    if engine.dialect.name == "postgresql":
        key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
        with engine.begin() as connection:
            connection.execute(sa.text("select pg_advisory_xact_lock(:key)"), {"key": key})
            yield
        return
    if engine.dialect.name != "sqlite":
        yield
        return
    with Path(f"{engine.url.database}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
