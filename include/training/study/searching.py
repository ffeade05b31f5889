"""The search of one worker process for a training set's best model."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from include.spec.training import ModelSettings
from include.training.study.prepared import Frozen, open_data
from include.training.study.progress import Progress
from include.training.study.results import progress_of
from include.training.study.shared_study import join_study
from include.training.study.storage import open_store
from include.training.study.trial_runner import TrialRunner
from include.training.training_set import TrainingSet

_log = logging.getLogger(__name__)


def study_name(use_case: str, fingerprint: str, settings: ModelSettings) -> str:
    """Name the study of one use case, training set and search; the same three always give the same name."""
    return f"{use_case}-{fingerprint[:12]}-{settings.search_digest()}"


def search(
    storage: str,
    name: str,
    training_set: TrainingSet | Frozen,
    settings: ModelSettings,
    *,
    trials: int | None = None,
    threads: int = 1,
    prepared: Path | None = None,
    checkpoints: Path | None = None,
    device: str = "auto",
    allowed: Callable[[], None] = lambda: None,
) -> Progress:
    """Pull and run trials of the study until its shared budget is settled.

    Any number of processes may do this at once. A finished study returns at once; an interrupted study
    continues.

    Args:
        storage: SQLAlchemy address of the study database.
        name: from :func:`study_name`.
        training_set: what to learn from; its newest days (test) are never looked at.
        settings: what to search.
        trials: budget of the whole study; ``settings.trials`` when None.
        threads: threads of this worker's fits.
        prepared: folder in which workers share the encoded training set; None keeps it to this process.
        checkpoints: folder of the trials' checkpoints and of the best models; None keeps nothing.
        device: ``auto``, ``cpu`` or ``cuda``; for the families that can use a GPU.
        allowed: called before anything is written; raises when this worker lost its lease.

    Raises:
        TrainingError: the data cannot be learnt from, or the study belongs to other data or settings.
        LeaseLost: this worker may no longer write; nothing was written since it lost the lease.
    """
    store = open_store(storage, settings.heartbeat_seconds, settings.grace_seconds)
    budget = settings.trials if trials is None else trials
    try:
        devices = 1 if device == "cuda" else threads
        shared = join_study(store, name, training_set.fingerprint, settings, budget, allowed, devices)
        before = progress_of(shared.study)
        if before.finished:
            _log.info("%s; nothing left to run", before)
            return before
        runner = TrialRunner(shared, open_data(training_set, settings, prepared), threads, checkpoints, device)
        while (trial := shared.claim()) is not None:
            runner.run(trial)
            _log.info("%s", progress_of(shared.study))
        return progress_of(shared.study)
    finally:
        store.storage.engine.dispose()
