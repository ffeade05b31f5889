"""Gradient boosted trees by LightGBM."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np

from include.core.errors import TrainingError
from include.spec.families import Fixed, Space
from include.training.data import Encoding, Floats, Matrix, Rows
from include.training.families.base import STEPS, Family, Fitting, Params, as_floats

_FILE = "model.txt"
_WATCH = "watch.json"
_OBJECTIVES: Mapping[str, str] = {"binary": "binary", "regression": "regression", "multiclass": "multiclass"}
# parameters of our own loop, not of LightGBM
_OURS = {"rounds", "early_stopping", "max_bin"}


@dataclass(frozen=True)
class Binned:
    """Both windows, binned once; trials may vary every parameter except ``max_bin``."""

    train: lgb.Dataset
    valid: lgb.Dataset
    fixed: Mapping[str, Any]
    rows: tuple[Rows, Rows]


@dataclass(frozen=True)
class Trees:
    """A LightGBM booster, cut at its best round."""

    booster: lgb.Booster

    def predict(self, x: Matrix, threads: int = 1) -> Floats:
        """Predict probabilities or values, shape (rows,), or of classes, shape (rows, classes)."""
        found, classes = as_floats(self.booster.predict(x, num_threads=threads)), self.booster.num_model_per_iteration()
        # of no rows LightGBM gives no columns either
        return found.reshape(-1, classes) if classes > 1 else found

    def importance(self) -> Floats:
        """Return the total gain by feature."""
        return as_floats(self.booster.feature_importance("gain"))

    def save(self, folder: Path) -> None:
        """Write LightGBM's own text format."""
        self.booster.save_model(str(folder / _FILE), num_iteration=self.booster.best_iteration)


class LightGbm(Family[Binned]):
    """LightGBM with early stopping on the validation metric."""

    name = "lightgbm"

    def prepare(self, train: Rows, valid: Rows, space: Space, fitting: Fitting) -> Binned:
        """Bin both windows with the same bins, or read the bins that another worker made."""
        bins = space["max_bin"]
        if not isinstance(bins, Fixed):
            raise TrainingError("lightgbm.max_bin cannot be searched: trials share one binning; fix it")
        fixed = {
            "max_bin": bins.value,
            # a dataset that dropped features for one min_data_in_leaf could not serve another
            "feature_pre_filter": False,
            "force_row_wise": True,
            "deterministic": True,
            "num_threads": fitting.threads,
            "seed": fitting.seed,
            "verbosity": -1,
        }
        if fitting.cache is None:
            binned, watched = _bin(train, valid, fixed, fitting)
            return Binned(binned, watched, fixed, (train, valid))
        both = functools.cache(lambda: _bin(train, valid, fixed, fitting))
        name = f"lightgbm-{bins.value}"
        at_train = fitting.cache.file(f"{name}-train.bin", lambda path: _save(both()[0], path))
        at_valid = fitting.cache.file(f"{name}-valid.bin", lambda path: _save(both()[1], path))
        # the writer also reads the file back, so that every worker fits the same data
        binned = lgb.Dataset(str(at_train), params=dict(fixed)).construct()
        watched = lgb.Dataset(str(at_valid), reference=binned, params=dict(fixed)).construct()
        return Binned(binned, watched, fixed, (train, valid))

    def fit(self, params: Params, prepared: Binned, fitting: Fitting) -> Trees:
        """Boost until the validation metric stops improving or the rounds are used up.

        A resumed fit keeps its trees. Its later trees draw other rows and columns than those of a fit that was
        never interrupted.
        """
        rounds = int(params["rounds"])
        watch = _Watch(rounds, int(params["early_stopping"]), fitting)
        train, valid, begin = prepared.train, prepared.valid, fitting.checkpoints.resume()
        if begin is not None:
            watch.restore(begin)
            if watch.ended:
                booster = lgb.Booster(model_file=str(begin / _FILE))
                booster.best_iteration = watch.best_round
                return Trees(booster)
            # the earlier trees' predictions are needed as a start, and those need the raw rows
            train, valid = _bin(*prepared.rows, prepared.fixed, fitting, keep_rows=True)
        booster = lgb.train(
            {
                **{name: value for name, value in params.items() if name not in _OURS},
                **prepared.fixed,
                "bagging_freq": 1,
                "objective": _OBJECTIVES[fitting.task],
                "num_class": fitting.classes or 1,
                "metric": "None",
                "num_threads": fitting.threads,
            },
            train,
            num_boost_round=rounds - watch.round,
            init_model=None if begin is None else str(begin / _FILE),
            valid_sets=[valid],
            feval=_judge(fitting),
            callbacks=[watch],
        )
        return Trees(booster)

    def load(self, folder: Path, encoding: Encoding) -> Trees:
        """Read LightGBM's text format."""
        booster = lgb.Booster(model_file=str(folder / _FILE))
        if booster.num_feature() != len(encoding.features):
            raise TrainingError(
                f"{folder / _FILE} reads {booster.num_feature()} features, its manifest names "
                f"{len(encoding.features)}; the directory mixes two models"
            )
        return Trees(booster)


def _bin(
    train: Rows, valid: Rows, fixed: Mapping[str, Any], fitting: Fitting, *, keep_rows: bool = False
) -> tuple[lgb.Dataset, lgb.Dataset]:
    # set for both now: LightGBM refuses it once the raw rows are freed
    named: dict[str, Any] = {
        "categorical_feature": list(train.encoding.categorical),
        "feature_name": [f"f{i}" for i in range(train.x.shape[1])],
        "free_raw_data": not keep_rows,
    }
    binned = lgb.Dataset(train.x, train.y, weight=fitting.weights(train.y), params=dict(fixed), **named)
    watched = lgb.Dataset(valid.x, valid.y, reference=binned, params=dict(fixed), **named)
    # a resumed fit builds its data later, when LightGBM knows the earlier trees
    return (binned, watched) if keep_rows else (binned.construct(), watched.construct())


def _save(data: lgb.Dataset, path: Path) -> None:
    data.save_binary(str(path))


def _judge(fitting: Fitting) -> Any:
    metric = fitting.metric

    def judge(predicted: np.ndarray[Any, Any], data: lgb.Dataset) -> tuple[str, float, bool]:
        value = fitting.value(as_floats(data.get_label()), as_floats(predicted))
        return metric.name, value, metric.info.maximize

    return judge


@dataclass
class _Progress:
    round: int = 0
    best_round: int = 0
    best_value: float = math.nan


class _Watch:
    """A callback that reports, keeps checkpoints and stops early; unlike LightGBM's own it survives a restart."""

    order = 10

    def __init__(self, rounds: int, patience: int, fitting: Fitting) -> None:
        self._patience, self._rounds, self._fitting = patience, rounds, fitting
        self._every = max(rounds // STEPS, 1)
        self._at = _Progress()

    @property
    def round(self) -> int:
        """Return the rounds that were boosted, restarts included."""
        return self._at.round

    @property
    def best_round(self) -> int:
        """Return the round after which the metric was best."""
        return self._at.best_round

    @property
    def ended(self) -> bool:
        """Return whether boosting is over."""
        return self._at.round - self._at.best_round >= self._patience or self._at.round >= self._rounds

    def restore(self, folder: Path) -> None:
        self._at = _Progress(**json.loads((folder / _WATCH).read_text(encoding="utf-8")))

    def __call__(self, env: lgb.callback.CallbackEnv) -> None:
        found, booster = env.evaluation_result_list, env.model
        assert found
        assert isinstance(booster, lgb.Booster)
        at, value = self._at, float(found[0][2])
        at.round += 1
        if not at.best_round or self._fitting.metric.worse(at.best_value, value):
            at.best_round, at.best_value = at.round, value
        step, rest = divmod(at.round, self._every)
        if rest == 0 and step <= STEPS:
            # report before stopping early: a trial that has stopped can no longer be pruned
            self._fitting.on_step(step, value)
            self._fitting.checkpoints.keep(step, lambda folder: self._keep(folder, booster))
        if self.ended:
            raise lgb.EarlyStopException(at.best_round - 1, found)

    def _keep(self, folder: Path, booster: lgb.Booster) -> None:
        # all trees, not only those up to the best round
        booster.save_model(str(folder / _FILE), num_iteration=-1)
        (folder / _WATCH).write_text(json.dumps(asdict(self._at)), encoding="utf-8")


FAMILY = LightGbm()
