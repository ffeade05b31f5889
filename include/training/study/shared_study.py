"""One worker's side of a shared study: claim a trial, keep it alive, settle it."""

from __future__ import annotations

import logging
import math
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from include.core.errors import TrainingError
from include.spec.families import METRICS
from include.spec.training import ModelSettings
from include.training.study import budget as budgets
from include.training.study import proposals, slots
from include.training.study.optuna_private import fixing, trial_id
from include.training.study.proposals import FAMILY
from include.training.study.storage import StudyStore

__all__ = ["FAMILY", "LateResult", "SharedStudy", "join_study"]

_POLL_SECONDS = 0.5
_REASON_LENGTH = 500
_log = logging.getLogger(__name__)


class LateResult(Exception):
    """The trial was given up as lost and is run by someone else; this worker's result is void."""


class SharedStudy:
    """A study as one worker sees it.

    Claiming and settling happen under the study's lock, so that the budget holds whatever the number
    of workers. Parameters are proposed by a sampler seeded with the slot: what is proposed depends on
    the seed, the slot and the trials before it, not on which process asks or whether it was restarted.

    ``allowed`` is called before anything is written and raises when this worker may no longer write;
    ``devices`` counts what a trial of this worker holds.
    """

    def __init__(
        self,
        store: StudyStore,
        name: str,
        settings: ModelSettings,
        budget: int,
        allowed: Callable[[], None] = lambda: None,
        devices: int = 1,
    ) -> None:
        self.store, self.name, self.settings, self.budget = store, name, settings, budget
        self.study = optuna.load_study(study_name=name, storage=store.storage, pruner=proposals.pruner(settings))
        self.allowed, self._devices = allowed, devices
        self._study_id = store.storage.get_study_id_from_name(name)

    def claim(self) -> optuna.Trial | None:
        """The next trial to run, or None when every slot is settled.

        While others still run it waits: should one of them die, its trial is taken over.
        """
        pause = threading.Event()
        while True:
            with self.store.lock(self.name):
                step = self._next()
                if step.act == "finished":
                    return None
                if step.act != "wait":
                    return self._take(step)
            pause.wait(_POLL_SECONDS)

    def _next(self) -> slots.Next:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            optuna.storages.fail_stale_trials(self.study)
        trials = self.study.get_trials(deepcopy=False)
        step = slots.next_step(trials, self.budget, retries=self.settings.retries)
        if step.act not in {"wait", "finished"} and (reason := self.exhausted(trials)):
            _log.info("no further trial is begun: the %s", reason)
            running = any(trial.state == TrialState.RUNNING for trial in trials)
            return slots.Next("wait" if running else "finished")
        return step

    def exhausted(self, trials: list[FrozenTrial] | None = None) -> str | None:
        """Which time budget is used up, in words; None while there is time."""
        trials = self.study.get_trials(deepcopy=False) if trials is None else trials
        return budgets.exhausted(trials, self.settings.model_dump(include={budgets.TIME, budgets.DEVICE_TIME}))

    def _take(self, step: slots.Next) -> optuna.Trial:
        self.allowed()
        storage = self.store.storage
        if step.act != "resume":
            # queued with its slot first, so that a crash right here leaves no unaccounted trial
            storage.create_new_trial(self._study_id, self._queued(step))
        queued = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))[0]
        storage.record_heartbeat(trial_id(queued))
        storage.set_trial_user_attr(trial_id(queued), budgets.DEVICES, self._devices)
        self.study.sampler = proposals.sampler(self.settings, queued.user_attrs[slots.SLOT], self.budget)
        with warnings.catch_warnings():
            # Optuna expects heartbeats within Study.optimize; alive() sends them here
            warnings.simplefilter("ignore", UserWarning)
            return self.study.ask()

    def _queued(self, step: slots.Next) -> FrozenTrial:
        if step.lost is not None:
            _log.warning("trial %d was lost with its worker; running it again", step.lost.number)
            params, distributions = _proposed(step.lost)
            return optuna.trial.create_trial(
                state=TrialState.WAITING,
                params=params,
                distributions=distributions,
                user_attrs={slots.SLOT: step.slot, slots.RETRY_OF: step.lost.number},
                system_attrs=step.lost.system_attrs,
            )
        fixed = proposals.fixed_start(self.settings, step.slot)
        return optuna.trial.create_trial(
            state=TrialState.WAITING,
            user_attrs={slots.SLOT: step.slot},
            system_attrs=fixing(fixed),
        )

    @contextmanager
    def alive(self, trial: optuna.Trial) -> Iterator[None]:
        """Send heartbeats for ``trial`` until the block ends."""
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(self.settings.heartbeat_seconds):
                try:
                    self.store.storage.record_heartbeat(trial_id(trial))
                except Exception:
                    # one missed beat is within grace; the next may find the database back
                    _log.warning("heartbeat of trial %d failed", trial.number, exc_info=True)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def complete(self, trial: optuna.Trial, value: float) -> None:
        """Record the final metric; NaN makes it a failed trial.

        Raises:
            LateResult: the trial was given up meanwhile.
        """
        if not math.isfinite(value):
            self.fail(trial, f"{self.settings.metric} is {value} on the validation window")
            return
        self._settle(trial, TrialState.COMPLETE, value=value)

    def prune(self, trial: optuna.Trial, reason: str | None = None) -> None:
        """Record that the trial was stopped early; raises like :meth:`complete`."""
        self._settle(trial, TrialState.PRUNED, reason=reason)

    def fail(self, trial: optuna.Trial, reason: str) -> None:
        """Record a failure of the trial itself, which is not run again; raises like :meth:`complete`."""
        self._settle(trial, TrialState.FAIL, reason=reason[:_REASON_LENGTH])

    def release(self, trial: optuna.Trial) -> None:
        """Give the trial up without a verdict, so that another worker runs it at once."""
        self._settle(trial, TrialState.FAIL)

    def _settle(
        self, trial: optuna.Trial, state: TrialState, value: float | None = None, reason: str | None = None
    ) -> None:
        with self.store.lock(self.name):
            self.allowed()
            try:
                if reason is not None:
                    trial.set_user_attr(slots.REASON, reason)
                self.study.tell(trial, value, state=state)
            except (UpdateFinishedTrialError, ValueError) as error:
                found = self.store.storage.get_trial(trial_id(trial))
                if not found.state.is_finished():
                    raise
                raise LateResult(f"trial {trial.number} is already {found.state.name}") from error


def _proposed(lost: FrozenTrial) -> tuple[dict[str, object], dict[str, BaseDistribution]]:
    return dict(lost.params), dict(lost.distributions)


def join_study(
    store: StudyStore,
    name: str,
    fingerprint: str,
    settings: ModelSettings,
    budget: int,
    allowed: Callable[[], None] = lambda: None,
    devices: int = 1,
) -> SharedStudy:
    """Join the study ``name``, creating it when it is new.

    Raises:
        TrainingError: the study belongs to another training set or to other settings.
    """
    identity = {"training_set": fingerprint, "settings": settings.search_digest()}
    if settings.sampler == "grid":
        budget = min(budget, len(proposals.grid(settings)))
    limits = {limit: getattr(settings, limit) for limit in (budgets.TIME, budgets.DEVICE_TIME)}
    wanted = identity | limits | {"metric": settings.metric, "budget": budget}
    found = _attributes(store, name)
    # whoever finds the study as it should be joins without waiting for those that are claiming
    if found != wanted:
        with store.lock(name):
            _write(store, name, identity, wanted)
    return SharedStudy(store, name, settings, budget, allowed, devices)


def _attributes(store: StudyStore, name: str) -> dict[str, object] | None:
    try:
        return dict(store.storage.get_study_user_attrs(store.storage.get_study_id_from_name(name)))
    except KeyError:
        return None


def _write(store: StudyStore, name: str, identity: dict[str, str], wanted: dict[str, object]) -> None:
    study = optuna.create_study(
        study_name=name,
        storage=store.storage,
        direction="maximize" if METRICS[str(wanted["metric"])].maximize else "minimize",
        load_if_exists=True,
        sampler=optuna.samplers.RandomSampler(seed=0),
    )
    found = study.user_attrs
    _refuse_strangers(name, {key: found[key] for key in identity if key in found}, identity)
    for key, value in wanted.items():
        if key not in found or found[key] != value:
            study.set_user_attr(key, value)


def _refuse_strangers(name: str, known: dict[str, str], identity: dict[str, str]) -> None:
    for key, value in known.items():
        if value != identity[key]:
            what = key.replace("_", " ")
            raise TrainingError(
                f"study {name} belongs to {what} {value[:12]}, this worker has {identity[key][:12]}; "
                "name the study with study_name()"
            )
