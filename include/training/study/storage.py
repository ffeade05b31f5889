"""Where studies live, and the lock that lets workers share one budget."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import optuna
import sqlalchemy as sa
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from include.core import database_lock
from include.core.errors import TrainingError
from include.training.study import optuna_private


@dataclass(frozen=True)
class StudyStore:
    """Optuna's tables plus a lock over each study that is freed when its holder dies."""

    storage: RDBStorage
    url: str

    @contextmanager
    def lock(self, study: str) -> Iterator[None]:
        """Hold the only right to claim or settle trials of ``study``."""
        with database_lock.held(self.storage.engine, f"training:{study}"):
            yield


def open_store(url: str, heartbeat_seconds: int | None = None, grace_seconds: int | None = None) -> StudyStore:
    """Open the study database, creating its tables when they are missing.

    Args:
        url: SQLAlchemy address; PostgreSQL, or an SQLite file for tests.
        heartbeat_seconds: how often running trials sign on; None only reads.
        grace_seconds: silence after which a running trial counts as lost.

    Raises:
        TrainingError: another kind of database, or it does not answer.
    """
    engine_args = _engine_args(url)
    engine = sa.create_engine(url, **engine_args)
    try:
        # two workers that create the tables at the same moment would fail each other; once this library's
        # tables are there nobody waits and nobody checks them, for that takes longer than all the rest
        there = optuna_private.tables_are_complete(engine)
        turn = contextlib.nullcontext() if there else database_lock.held(engine, "training:schema")
        with turn, warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            storage = RDBStorage(
                url,
                engine_kwargs=engine_args,
                heartbeat_interval=heartbeat_seconds,
                grace_period=grace_seconds,
                skip_compatibility_check=there,
                skip_table_creation=there,
            )
    except sa.exc.OperationalError as error:
        address = sa.make_url(url).render_as_string(hide_password=True)
        raise TrainingError(f"study database {address} does not answer: {error.orig}; start it") from error
    finally:
        engine.dispose()
    return StudyStore(storage, url)


def _engine_args(url: str) -> dict[str, object]:
    backend = sa.make_url(url).get_backend_name()
    if backend == "postgresql":
        # heartbeats are compared as local times, so every session must have the same zone
        return {
            "pool_size": 3,
            "pool_pre_ping": True,
            "connect_args": {"options": "-c timezone=UTC"},
        }
    if backend == "sqlite" and sa.make_url(url).database not in (None, "", ":memory:"):
        return {"connect_args": {"timeout": 60}}
    raise TrainingError(f"studies need PostgreSQL or an SQLite file, not {backend}; check the storage address")


@contextmanager
def alone(url: str, what: str) -> Iterator[None]:
    """Hold off whoever else would do ``what`` beside the same database, until the block or this process ends."""
    engine = sa.create_engine(url, **_engine_args(url))
    try:
        with database_lock.held(engine, f"training:{what}"):
            yield
    finally:
        engine.dispose()


@contextmanager
def reading(url: str, name: str) -> Iterator[optuna.Study]:
    """The study called ``name``, for reading; its connections are closed afterwards.

    Raises:
        TrainingError: there is none.
    """
    store = open_store(url)
    try:
        yield _found(store, name)
    finally:
        store.storage.engine.dispose()


@contextmanager
def at_rest(url: str, name: str, heartbeat_seconds: int, grace_seconds: int) -> Iterator[bool]:
    """Whether nobody runs a trial of the study ``name``; until the block ends nobody begins one.

    A trial whose worker has been silent for ``grace_seconds`` runs no more. What is no study is at rest.
    """
    store = open_store(url, heartbeat_seconds, grace_seconds)
    try:
        with store.lock(name):
            yield not _at_work(store.storage, name)
    finally:
        store.storage.engine.dispose()


def _at_work(storage: RDBStorage, name: str) -> bool:
    try:
        study = storage.get_study_id_from_name(name)
    except KeyError:
        return False
    running = storage.get_all_trials(study, deepcopy=False, states=(TrialState.RUNNING,))
    # to fail the lost trials is the next worker's task
    return bool({optuna_private.trial_id(trial) for trial in running} - optuna_private.stale_trial_ids(storage, study))


def _found(store: StudyStore, name: str) -> optuna.Study:
    try:
        return optuna.load_study(study_name=name, storage=store.storage)
    except KeyError:
        raise TrainingError(f"study {name} does not exist; run the search first") from None
