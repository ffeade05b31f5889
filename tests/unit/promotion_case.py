"""A use case that is trained on a few invented rows: real lake, real MLflow store, real model files."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
from mlflow import MlflowClient

from include.core import partitions
from include.core.settings import Settings
from include.lake.records import Attempt
from include.spec.loading import load_use_case
from include.spec.use_case import UseCase
from include.steps.handover import Fitted, FrozenTrainingSet
from include.steps.train import registering, search
from include.steps.train.search import search_here
from include.steps.workspace import Workspace
from include.training.training_set import TrainingSet
from tests.unit import signing_case
from tests.unit.training_rows import model_settings, training_rows

os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"

DAYS = 60
AS_OF = "2013-04-03"
ZONE = "America/New_York"


def case(training: dict[str, Any] | None = None, **values: Any) -> UseCase:
    """Return the flights use case, trained on the invented rows."""
    defaults = {
        "period_column": "day",
        "ignore": ["delay", "label_known_at", "ds"],
        "families": {"logistic": {}},
        "trials": 1,
        "slices": ["carrier"],
    }
    settings = model_settings(**(defaults | (training or {})))
    flights = load_use_case("flights").model_dump(mode="json")
    own = {"training": settings.model_dump(mode="json"), "gates": {"resamples": 200}}
    return UseCase.model_validate({**flights, **own, **values})


def workspace(folder: Path, **values: Any) -> Workspace:
    """Make an empty lake and an empty MLflow store in ``folder``."""
    settings = Settings.in_folder(folder, **signing_case.shared())
    shutil.copy(_empty_store(), folder / "mlflow.db")
    # the default place for artifacts is the current folder
    MlflowClient(settings.mlflow_tracking_uri).create_experiment("flights", str(folder / "artifacts"))
    return Workspace(settings, case(**values))


@functools.cache
def _empty_store() -> Path:
    # creating MLflow's tables takes seconds
    folder = Path(tempfile.mkdtemp(prefix="mlflow-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    MlflowClient(f"sqlite:///{folder / 'empty.db'}").search_experiments()
    return folder / "empty.db"


def attempt(dag: str = "flights_train", name: str = "one", number: int = 1) -> Attempt:
    return Attempt("flights", dag, name, number)


def rows(seed: int = 0, as_of: str = AS_OF) -> pa.Table:
    """Invented labelled rows; each label is known when the next day begins."""
    made = training_rows(DAYS, seed=seed)
    days = made["ds"].to_pylist()
    known = [partitions.clock(partitions.shift(day, 1), ZONE) for day in days]
    made = made.rename_columns(["day" if name == "ds" else name for name in made.column_names])
    made = made.append_column("label_known_at", pa.array(known, pa.timestamp("us", "UTC")))
    return made.append_column("ds", pa.array([as_of] * made.num_rows))


def fit(there: Workspace, *, seed: int = 0, as_of: str = AS_OF, table: pa.Table | None = None) -> Fitted:
    """Freeze invented rows, search and fit; return what ``registering.register`` takes."""
    by = attempt(name=f"seed-{seed}-{as_of}-{0 if table is None else table.num_columns}")
    frozen = freeze(there, by, seed=seed, as_of=as_of, table=table)
    search_here(there, frozen)
    return search.fit(there, frozen, by)


def freeze(
    there: Workspace, by: Attempt, *, seed: int = 0, as_of: str = AS_OF, table: pa.Table | None = None
) -> FrozenTrainingSet:
    """Publish invented rows as the training set of ``as_of``."""
    made = rows(seed, as_of) if table is None else table
    lake_table = there.case.table("training", f"as_of_{as_of.replace('-', '_')}")
    stage = there.lake.stage(lake_table, made.to_reader(), [as_of], by, ["day", "flight"])
    done = there.lake.publish(stage, by)
    return FrozenTrainingSet(
        as_of=as_of,
        table=lake_table,
        uri=there.lake.uri(lake_table),
        version=done.version,
        rows=made.num_rows,
        trained_through=partitions.shift(as_of, -1),
        fingerprint=TrainingSet.of(made.select(stage.schema().names).cast(stage.schema())).fingerprint,
    )


def train(there: Workspace, *, seed: int = 0, as_of: str = AS_OF, table: pa.Table | None = None) -> int:
    """``fit``, registered; returns the version's number."""
    fitted = fit(there, seed=seed, as_of=as_of, table=table)
    return int(registering.register(there, fitted, attempt(name=f"seed-{seed}-{as_of}")).version)
