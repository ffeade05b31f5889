"""How a study proposes parameters and gives up on trials."""

from __future__ import annotations

import hashlib
import itertools
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState

from include.core.errors import TrainingError
from include.spec.families import Choice, Dimension, Fixed, Searched
from include.spec.training import ModelSettings
from include.training.families.base import STEPS, starting_point
from include.training.study.optuna_private import StudyOfSome, fixed_params

FAMILY = "family"
_MOST_POINTS = 100_000


def fixed_start(settings: ModelSettings, slot: int) -> dict[str, Any]:
    """Parameters that slot ``slot`` tries whatever the sampler thinks; empty where it is free.

    Every family gets its known good start before anything is sampled; a grid fixes everything.
    """
    if settings.sampler == "grid":
        return grid(settings)[slot]
    names = list(settings.families)
    if slot < len(names):
        family = names[slot]
        return {FAMILY: family, **starting_point(family, settings.space(family))}
    return {FAMILY: names[slot % len(names)]} if settings.search == "by_family" else {}


def grid(settings: ModelSettings) -> list[dict[str, Any]]:
    """All points of the grid over all families, in an order that the seed decides.

    Raises:
        TrainingError: the grid is far too large to be meant.
    """
    axes = {
        name: {f"{name}.{key}": _axis(dimension, settings.grid_points) for key, dimension in _free(settings, name)}
        for name in settings.families
    }
    size = sum(int(np.prod([len(values) for values in axis.values()])) for axis in axes.values())
    if size > _MOST_POINTS:
        raise TrainingError(f"the grid has {size} points; fix parameters, lower grid_points or use sampler tpe")
    points = [
        {FAMILY: name, **dict(zip(axis, values, strict=True))}
        for name, axis in axes.items()
        for values in itertools.product(*axis.values())
    ]
    order = np.random.default_rng(settings.seed).permutation(len(points))
    return [points[i] for i in order]


def _free(settings: ModelSettings, family: str) -> list[tuple[str, Searched | Choice]]:
    space = settings.space(family).items()
    return [(key, dimension) for key, dimension in space if not isinstance(dimension, Fixed)]


def _axis(dimension: Dimension, points: int) -> Sequence[Any]:
    if isinstance(dimension, Choice):
        return dimension.options
    assert isinstance(dimension, Searched)
    spread = np.geomspace if dimension.log else np.linspace
    # rounding must not leave the range
    values = np.clip(spread(dimension.low, dimension.high, points), dimension.low, dimension.high)
    return sorted({round(value) for value in values}) if dimension.integer else [float(value) for value in values]


def sampler(settings: ModelSettings, slot: int, budget: int) -> optuna.samplers.BaseSampler:
    """The sampler of one slot; what it proposes depends on seed, slot and the trials before it."""
    seed = int.from_bytes(hashlib.sha256(f"{settings.seed}:{slot}".encode()).digest()[:4], "big")
    if settings.sampler != "tpe":
        return optuna.samplers.RandomSampler(seed=seed)
    shares = len(settings.families) if settings.search == "by_family" else 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        # group: families have parameters of their own, each set is modelled apart
        tpe = optuna.samplers.TPESampler(
            seed=seed,
            n_startup_trials=min(10, max(4, budget // 3 // shares)),
            multivariate=True,
            group=True,
            constant_liar=True,
        )
    return _FamilySampler(tpe) if settings.search == "by_family" else tpe


def pruner(settings: ModelSettings) -> optuna.pruners.BasePruner:
    """The pruner; it sees what the trials of all workers have reported."""
    chosen = _pruner(settings.pruner)
    return _FamilyPruner(chosen) if settings.search == "by_family" else chosen


def _pruner(name: str) -> optuna.pruners.BasePruner:
    if name == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=2, reduction_factor=2)
    if name == "hyperband":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=STEPS, reduction_factor=3)
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=STEPS // 4)
    return optuna.pruners.NopPruner()


def _of_family(study: optuna.Study, trial: FrozenTrial) -> Any:
    """Return the study as if it had only the trials of the trial's own family."""
    # before the family is suggested it is among the parameters that the slot fixed
    family = trial.params.get(FAMILY) or fixed_params(trial)[FAMILY]
    return StudyOfSome(study, lambda other: other.params.get(FAMILY) == family)


class _FamilySampler(optuna.samplers.BaseSampler):
    """Learns from the trials of the trial's own family."""

    def __init__(self, inner: optuna.samplers.BaseSampler) -> None:
        self._inner = inner

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._inner.infer_relative_search_space(_of_family(study, trial), trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._inner.sample_relative(_of_family(study, trial), trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._inner.sample_independent(_of_family(study, trial), trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        if trial.params.get(FAMILY):
            self._inner.after_trial(_of_family(study, trial), trial, state, values)


class _FamilyPruner(optuna.pruners.BasePruner):
    """Compares a trial with those of its own family."""

    def __init__(self, inner: optuna.pruners.BasePruner) -> None:
        self._inner = inner

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        return bool(self._inner.prune(_of_family(study, trial), trial))
