"""A worker's silence, made in the study database: tests need not wait for it, and no busy machine makes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import sqlalchemy as sa

LONG_AGO = datetime(2020, 1, 1)


def silence(url: str, trial_id: int) -> None:
    """Date the last heartbeat of a trial back to long ago."""
    with _heartbeats(url) as (connection, table):
        connection.execute(table.update().where(table.c.trial_id == trial_id).values(heartbeat=LONG_AGO))


def heard(url: str, trial_id: int) -> bool:
    """Tell whether a trial has sent a heartbeat since it was silenced."""
    with _heartbeats(url) as (connection, table):
        found = connection.execute(sa.select(table.c.heartbeat).where(table.c.trial_id == trial_id)).scalar_one()
    return bool(found != LONG_AGO)


@contextmanager
def _heartbeats(url: str) -> Iterator[tuple[sa.Connection, sa.Table]]:
    engine = sa.create_engine(url)
    try:
        with engine.begin() as connection:
            yield connection, sa.Table("trial_heartbeats", sa.MetaData(), autoload_with=connection)
    finally:
        engine.dispose()
