"""A named lock beside a shared database; the death of its holder frees it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from filelock import FileLock


@contextmanager
def held(engine: sa.Engine, name: str) -> Iterator[None]:
    """Hold the lock ``name`` of the database of ``engine`` until the block ends; wait for it first.

    PostgreSQL locks by name, for the length of a transaction. SQLite has one lock file for all names. Other
    databases have no lock here: Feast can keep its registry elsewhere.
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
    # a soft lock would outlive a killed holder
    with FileLock(f"{engine.url.database}.lock", poll_interval=0.01, preserve_lock_file=True, fallback_to_soft=False):
        yield
