"""The imports of the parent process that every task is forked from.

Import only, never compute: after an OpenMP region has run in the parent, torch, LightGBM and scikit-learn hang in the
children. The task that needs a missing library reports it. A task that starts after an edit of the project's code
imports that code itself.
"""

from __future__ import annotations

import gc
import importlib
import logging

from include.stack.imported_code import ImportedPackage

LIBRARIES = (
    # Airflow itself imports these in each task before it reaches the operator
    "airflow.dag_processing.dagbag",
    "airflow.partition_mappers",
    "airflow.timetables.simple",
    "airflow.timetables.trigger",
    "airflow.providers.amazon.aws.assets.redshift",
    "airflow.providers.amazon.aws.assets.s3",
    "airflow.providers.common.io.assets.file",
    "airflow.providers.standard.operators.empty",
    "airflow.sdk.bases.operatorlink",
    "airflow.sdk.definitions.retry_policy",
    "pandas",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "duckdb",
    "deltalake",
    "deltalake.fs",
    "duckdb_sqlalchemy",
    "sqlalchemy.dialects.postgresql.psycopg2",
    "sklearn.linear_model",
    "sklearn.preprocessing",
    "sklearn.isotonic",
    "lightgbm",
    "optuna",
    "optuna.storages._rdb.storage",
    "alembic.command",
    "torch",
    "mlflow",
    "mlflow.tracking",
    "mlflow.tracking.request_header.registry",
    "great_expectations",
    "feast",
    "feast.infra.compute_engines.local.compute",
    "feast.infra.online_stores.sqlite",
    "feast.infra.passthrough_provider",
    "feast.repo_operations",
    "evidently",
    "evidently.presets",
    "plotly.offline",
)
PROJECT = (
    "include.steps.features",
    "include.steps.ingest",
    "include.steps.inputs",
    "include.steps.maintenance",
    "include.steps.plan.planning",
    "include.steps.monitor",
    "include.steps.promote.deciding",
    "include.steps.publishing",
    "include.steps.score.predicting",
    "include.steps.train.registering",
    "include.steps.train.search",
    "include.steps.workers",
)


def import_all(names: tuple[str, ...]) -> None:
    """Import ``names`` in order and log those that fail.

    A broken module must not stop the parent: the tasks that need the module fail, each with the reason in its log.
    """
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:
            logging.getLogger(__name__).warning("not preloaded: %s (%r)", name, error)


# imported objects stay: collecting garbage among them took a quarter of the import time
gc.disable()
import_all(LIBRARIES)
import_all(PROJECT)
ImportedPackage("include").drop_if_edited_in_children()
# freeze, so that garbage collection in a child neither visits these objects nor copies their memory pages
gc.collect()
gc.freeze()
gc.enable()
