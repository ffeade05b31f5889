"""Model settings are checked when the spec loads, without importing a machine-learning library."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from include.spec.families import FAMILIES, METRICS, Choice, Fixed, Searched
from include.spec.training import ModelSettings
from include.training.families import family
from include.training.judging.metrics import metric
from tests.unit.training_rows import MULTICLASS, REGRESSION, model_settings


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"metric": "logloss"}, 'metric "logloss" unknown; did you mean "log_loss"?'),
        ({"families": {"lightgb": {}}}, 'family "lightgb" unknown; did you mean "lightgbm"?'),
        (
            {"families": {"lightgbm": {"num_leafs": 5}}},
            'parameter "num_leafs" of lightgbm unknown; did you mean "num_leaves"?',
        ),
        ({"families": {"lightgbm": {"rounds": "many"}}}, "lightgbm.rounds: 'many' is not a number"),
        ({"families": {"lightgbm": {"num_leaves": 5.5}}}, "lightgbm.num_leaves: 5.5 is not a whole number"),
        ({"families": {"lightgbm": {"num_leaves": float("inf")}}}, "lightgbm.num_leaves: inf is not a finite number"),
        ({"families": {"lightgbm": {"lambda_l2": {"low": 1, "high": float("inf")}}}}, "inf is not a finite number"),
        ({"families": {"lightgbm": {"num_leaves": []}}}, "an empty list leaves nothing to choose"),
        ({"families": {"logistic": {"penalty": {"low": 2, "high": 1}}}}, "low 2.0 is not below high 1.0"),
        ({"families": {}}, "at least 1 item"),
        ({"task": "multiclas"}, 'did you mean "multiclass"?'),
        (MULTICLASS | {"metric": "auc"}, 'metric "auc" is not for multiclass; use one of log_loss, auc_macro'),
        (
            MULTICLASS | {"families": {"torch_tabm": {}}},
            'family "torch_tabm" cannot do multiclass; use lightgbm or logistic or torch_mlp',
        ),
        (
            MULTICLASS | {"calibration": "isotonic"},
            'calibration "isotonic" is for binary labels; set it to "temperature" or "none"',
        ),
        ({"calibration": "temperature"}, 'calibration "temperature" is for labels of several classes; set it to "iso'),
        (MULTICLASS | {"imbalance": {"method": "weights"}}, 'imbalance "weights" is for binary labels'),
        ({"task": "regresion"}, 'did you mean "regression"?'),
        ({"metric": "rmse"}, 'metric "rmse" is not for binary; use one of log_loss'),
        (
            REGRESSION | {"families": {"logistic": {}}},
            'family "logistic" cannot do regression; use lightgbm or',
        ),
        (REGRESSION | {"calibration": "isotonic"}, 'calibration "isotonic" is for binary labels'),
        ({"categorical": ["disrupted"]}, "a label is never a feature"),
        ({"heartbeat_seconds": 5, "grace_seconds": 6}, "at least twice heartbeat_seconds"),
        ({"baselines": [{"kind": "constant"}, {"kind": "constant"}]}, "two baselines are the same"),
        ({"label_range": [0, None]}, "label_range is for regression"),
        (REGRESSION | {"label_range": [5, 1]}, "label_range [5.0, 1.0] is empty"),
        ({"test_day": 3}, "Extra inputs are not permitted"),
    ],
)
def test_fault_is_named_with_its_remedy(values: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError) as raised:
        model_settings(**values)
    assert said in str(raised.value)


def test_overrides_fix_choose_or_bound_a_parameter() -> None:
    space = model_settings(
        families={
            "lightgbm": {
                "num_leaves": 7,
                "learning_rate": [0.1, 0.2],
                "lambda_l2": {"low": 2, "high": 5},
            }
        }
    ).space("lightgbm")
    assert space["num_leaves"] == Fixed(7)
    assert space["learning_rate"] == Choice((0.1, 0.2))
    # the default start lies outside the new bounds and moves to the nearest
    assert space["lambda_l2"] == Searched(2, 5, start=2, log=True)


def test_budget_does_not_change_what_a_trial_means() -> None:
    settings = model_settings()
    assert settings.search_digest() == model_settings(trials=50, workers=4, resamples=500).search_digest()
    assert settings.search_digest() != model_settings(seed=4).search_digest()


def test_catalog_and_code_agree() -> None:
    for name, info in FAMILIES.items():
        assert family(name).name == name
        assert info.tasks
    for name in METRICS:
        assert metric(name).name == name


def test_settings_survive_json() -> None:
    settings = model_settings(baselines=[{"kind": "historical_rate", "by": ["carrier"]}])
    assert ModelSettings.model_validate_json(settings.model_dump_json()) == settings


def test_spec_module_is_light() -> None:
    heavy = ["numpy", "pyarrow", "sklearn", "lightgbm", "optuna", "sqlalchemy", "pandas"]
    code = f"import sys, include.spec.training; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
