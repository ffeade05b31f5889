"""Train a challenger when asked: freeze a training set, search, fit the best, register.

The training set is a versioned, hashed table of what was known at the clock of `as_of`. A few mapped workers
pull trials of one Optuna study until its budget is used, each on a leased GPU or CPU slot of this machine or
elsewhere (`accelerator`); restarting the DAG run continues the same study. The registered model is the very
model that was judged on the test days.
"""

from __future__ import annotations

from airflow.sdk import DAG

from include.spec.use_case import UseCase
from lifecycle import assets, params
from lifecycle.defaults import dag_defaults, use_cases
from lifecycle.operators.train import (
    FitBestOperator,
    FreezeTrainingSetOperator,
    RegisterOperator,
    SearchOperator,
)


def train(use_case: UseCase) -> None:
    with DAG(
        **dag_defaults(use_case, "train", __doc__),
        schedule=None,
        params={
            "as_of": params.as_of(use_case),
            "trials": params.trials(use_case.training.trials),
            "accelerator": params.accelerator(),
        },
        max_active_runs=1,
    ):
        name = use_case.name
        training_set = FreezeTrainingSetOperator(task_id="freeze_training_set", use_case=name)
        search = SearchOperator.partial(
            task_id="search",
            use_case=name,
            training_set=training_set.output,
            needs=use_case.accelerator,
            pool="gpu",
        ).expand(worker=list(range(use_case.training.workers)))
        fitted = FitBestOperator(task_id="fit_best", use_case=name, training_set=training_set.output)
        register = RegisterOperator(
            task_id="register", use_case=name, fitted=fitted.output, outlets=[assets.challenger(use_case)]
        )
        search >> fitted >> register


for use_case in use_cases():
    train(use_case)
