"""Gradient boosted trees by LightGBM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np

from include.errors import TrainingError
from include.training.catalog import Fixed, Space
from include.training.data import Encoding, Floats, Matrix, Window
from include.training.families.base import STEPS, Family, Fitting, Params, as_floats

_FILE = "model.txt"
_OBJECTIVES: Mapping[str, str] = {"binary": "binary", "regression": "regression"}
# parameters of our own loop, not of LightGBM
_OURS = {"rounds", "early_stopping", "max_bin"}


@dataclass(frozen=True)
class Binned:
    """Both windows binned once; trials may vary anything but ``max_bin``."""

    train: lgb.Dataset
    valid: lgb.Dataset
    fixed: Mapping[str, Any]


@dataclass(frozen=True)
class Trees:
    """A LightGBM booster, cut at its best round."""

    booster: lgb.Booster

    def predict(self, x: Matrix, threads: int = 1) -> Floats:
        """Probabilities or values, shape (rows,)."""
        return as_floats(self.booster.predict(x, num_threads=threads))

    def importance(self) -> Floats:
        """Total gain by feature."""
        return as_floats(self.booster.feature_importance("gain"))

    def save(self, folder: Path) -> None:
        """Write LightGBM's own text format."""
        self.booster.save_model(str(folder / _FILE), num_iteration=self.booster.best_iteration)


class LightGbm(Family[Binned]):
    """LightGBM with early stopping on the validation metric."""

    name = "lightgbm"

    def prepare(self, train: Window, valid: Window, space: Space, fitting: Fitting) -> Binned:
        """Bin both windows with the same bins."""
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
        categorical = list(train.encoding.categorical)
        names = [f"f{i}" for i in range(train.x.shape[1])]
        binned = lgb.Dataset(
            train.x, train.y, params=dict(fixed), categorical_feature=categorical, feature_name=names
        ).construct()
        watched = lgb.Dataset(
            valid.x,
            valid.y,
            reference=binned,
            params=dict(fixed),
            # said again: setting it later is refused once the raw rows are freed
            categorical_feature=categorical,
            feature_name=names,
        ).construct()
        return Binned(binned, watched, fixed)

    def fit(self, params: Params, prepared: Binned, fitting: Fitting) -> Trees:
        """Boost until the validation metric stops improving or the rounds are used up."""
        rounds = int(params["rounds"])
        booster = lgb.train(
            {
                **{name: value for name, value in params.items() if name not in _OURS},
                **prepared.fixed,
                "bagging_freq": 1,
                "objective": _OBJECTIVES[fitting.task],
                "metric": "None",
                "num_threads": fitting.threads,
            },
            prepared.train,
            num_boost_round=rounds,
            valid_sets=[prepared.valid],
            feval=_judge(fitting),
            callbacks=[
                _report(rounds, fitting),
                lgb.early_stopping(int(params["early_stopping"]), verbose=False),
            ],
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


def _judge(fitting: Fitting) -> Any:
    metric = fitting.metric

    def judge(predicted: np.ndarray[Any, Any], data: lgb.Dataset) -> tuple[str, float, bool]:
        value = metric.value(as_floats(data.get_label()), as_floats(predicted))
        return metric.name, value, metric.info.maximize

    return judge


def _report(rounds: int, fitting: Fitting) -> Any:
    every = max(rounds // STEPS, 1)

    def report(env: lgb.callback.CallbackEnv) -> None:
        step, rest = divmod(env.iteration + 1, every)
        if rest == 0 and step <= STEPS and env.evaluation_result_list:
            fitting.on_step(step, float(env.evaluation_result_list[0][2]))

    # pruning looks first: a trial that is stopped early has nothing left to prune
    report.order = 10  # type: ignore[attr-defined]
    return report


FAMILY = LightGbm()
