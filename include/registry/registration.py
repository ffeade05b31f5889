"""The record of one training in MLflow: a run with parameters, metrics, data and files, and its logged model."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModel,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    RunStatus,
    RunTag,
)
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from include.accelerators.tracking import open_experiment
from include.core import fault_points

KEY = "registration"  # tag by which a repeated registration finds itself
CHAMPION = "champion"
MODEL_NAME = "model"
LOADER = "include.registry.pyfunc_loader"
_DATASET_DIGEST = 36  # MLflow stores no more characters; the tag has the whole fingerprint


@dataclass(frozen=True)
class TrainedOn:
    """The frozen training set behind a model.

    Attributes:
        fingerprint: SHA-256 over its contents.
        uri, version: the Delta table and its version.
        rows: number of rows, all windows together.
        columns: column name to Arrow type.
    """

    name: str
    fingerprint: str
    uri: str
    version: int | None
    rows: int
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Challenger:
    """A trained model with everything that MLflow records about it.

    Attributes:
        model_dir, digest: the model's files and the SHA-256 over them.
        trained_through: last partition whose labels the model has seen.
        study, seed: the search that the model won.
        code_version: commit of the code that trained it.
        dag_run_id: DAG run that trained it.
        params, metrics: columns in MLflow; metrics that are None are left out.
        inputs: feature name to MLflow type (``double``, ``long``, ``string``, ``boolean``), in model order.
        output: name of the predicted column.
        classes: the classes whose probabilities are predicted, in order: each is a column of the output; none where
            the output is one number.
        requirements: pinned packages that loading the model needs; MLflow would load the model to infer them.
        trials: the trials of the search, one row each.
        evidence: JSON-serialisable verdicts, intervals and slices.
        files: further artifacts by their name in MLflow (a model card, a picture).
        more_tags: further tags of the version.
    """

    use_case: str
    model_dir: Path
    digest: str
    trained_on: TrainedOn
    trained_through: str
    study: str
    seed: int
    code_version: str
    dag_run_id: str
    params: Mapping[str, str | int | float | bool]
    metrics: Mapping[str, float | None]
    inputs: Mapping[str, str]
    output: str
    requirements: Sequence[str]
    trials: Sequence[Mapping[str, object]] = ()
    evidence: Mapping[str, object] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    classes: Sequence[str] = ()
    more_tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Return the key of this registration: equal for every repetition, different for another model."""
        parts = (self.use_case, self.trained_on.fingerprint, self.study, str(self.seed), self.digest)
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @property
    def tags(self) -> dict[str, str]:
        """Return the tags of the version: enough to score with it and to rebuild its training set."""
        data = self.trained_on
        return {
            **self.more_tags,
            KEY: self.key,
            "use_case": self.use_case,
            "digest": self.digest,
            "trained_through": self.trained_through,
            "training_set": data.uri,
            "training_set_version": "" if data.version is None else str(data.version),
            "training_set_fingerprint": data.fingerprint,
            "study": self.study,
            "seed": str(self.seed),
            "code_version": self.code_version,
            "dag_run_id": self.dag_run_id,
        }


class MlflowRun:
    """The MLflow run of one registration; each method may be repeated and has the same result."""

    def __init__(self, client: MlflowClient, challenger: Challenger, experiment_id: str, run_id: str) -> None:
        self._client = client
        self._challenger = challenger
        self._experiment_id = experiment_id
        self.run_id = run_id

    @classmethod
    def open(cls, client: MlflowClient, challenger: Challenger) -> MlflowRun:
        """Find the MLflow run that an earlier attempt began, or create one."""
        experiment_id = open_experiment(client, challenger.use_case)

        def begun() -> list[str]:
            found = client.search_runs([experiment_id], f"tags.{KEY} = '{challenger.key}'")
            return [run.info.run_id for run in sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))]

        if not (run_ids := begun()):
            name = f"{challenger.use_case} through {challenger.trained_through}"
            client.create_run(experiment_id, tags=challenger.tags, run_name=name)
            # MLflow's client asks again when an answer is lost: the server may have created two
            run_ids = begun()
        for repeated in run_ids[1:]:
            client.delete_run(repeated)
        return cls(client, challenger, experiment_id, run_ids[0])

    def log_evidence(self) -> None:
        """Log parameters, metrics, the training set, the table of trials and the files."""
        challenger = self._challenger
        now = int(time.time() * 1000)  # MLflow's page shows the time; no code reads it
        params = [Param(name, str(value)) for name, value in challenger.params.items()]
        metrics = [
            Metric(name, float(value), now, 0) for name, value in challenger.metrics.items() if value is not None
        ]
        for begin in range(0, len(params), 100):
            self._client.log_batch(self.run_id, params=params[begin : begin + 100])
        for begin in range(0, len(metrics), 1000):
            self._client.log_batch(self.run_id, metrics=metrics[begin : begin + 1000])
        self._client.log_inputs(self.run_id, [self._dataset()])
        with tempfile.TemporaryDirectory() as scratch:
            self._write_files(Path(scratch))
            self._client.log_artifacts(self.run_id, scratch)

    def log_model(self) -> LoggedModel:
        """Upload the model's files as an MLflow model."""
        if not (begun := self._begun_models()):
            self._create_logged_model()
            begun = self._begun_models()
        model = begun[0]
        for repeated in begun[1:]:
            # as with the MLflow run: its creation was asked for twice
            self._client.delete_logged_model(repeated.model_id)
        if model.status == LoggedModelStatus.READY:
            return model
        with tempfile.TemporaryDirectory() as scratch:
            self._save(Path(scratch), model.model_id)
            # overwrites the files of an interrupted upload: the same files have the same names
            self._client.log_model_artifacts(model.model_id, str(Path(scratch) / "mlflow"))
        fault_points.reached("register.files_uploaded")
        self._link(model)
        return self._client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)

    @staticmethod
    def close(client: MlflowClient, run_id: str, version: int) -> None:
        """Mark an MLflow run as finished, and link the run and its logged model to their version."""
        run = client.get_run(run_id)
        if run.info.status != "FINISHED":
            link = json.dumps([{"name": run.data.tags["use_case"], "version": str(version)}])
            for model in run.outputs.model_outputs if run.outputs else ():
                # by this tag MLflow's pages link the model to its version
                client.set_logged_model_tags(model.model_id, {MLFLOW_MODEL_VERSIONS: link})
            client.log_batch(run_id, tags=[RunTag("version", str(version))])
            client.set_terminated(run_id, RunStatus.to_string(RunStatus.FINISHED))

    def _link(self, model: LoggedModel) -> None:
        if self._is_linked():
            return
        try:
            # MLflow accepts this call only once, and its client repeats it when the answer is lost
            self._client.log_outputs(self.run_id, [LoggedModelOutput(model.model_id, 0)])
        except MlflowException:
            if not self._is_linked():
                raise

    def _is_linked(self) -> bool:
        outputs = self._client.get_run(self.run_id).outputs
        return bool(outputs and outputs.model_outputs)

    def _begun_models(self) -> list[LoggedModel]:
        found = self._client.search_logged_models(
            [self._experiment_id], filter_string=f"tags.{KEY} = '{self._challenger.key}'"
        )
        return sorted(found, key=lambda model: (model.creation_timestamp, model.model_id))

    def _create_logged_model(self) -> LoggedModel:
        return self._client.create_logged_model(
            self._experiment_id,
            name=MODEL_NAME,
            source_run_id=self.run_id,
            tags={KEY: self._challenger.key, "digest": self._challenger.digest},
            params={name: str(value) for name, value in self._challenger.params.items()},
        )

    def _save(self, scratch: Path, model_id: str) -> None:
        import mlflow.pyfunc

        files = scratch / MODEL_NAME
        shutil.copytree(self._challenger.model_dir, files)
        # with a loader module and files MLflow pickles nothing, neither here nor at load
        mlflow.pyfunc.save_model(
            str(scratch / "mlflow"),
            loader_module=LOADER,
            data_path=str(files),
            mlflow_model=Model(model_id=model_id, run_id=self.run_id),
            signature=self._signature,
            pip_requirements=list(self._challenger.requirements),
            metadata={"digest": self._challenger.digest},
        )

    @cached_property
    def _signature(self) -> ModelSignature:
        features = self._challenger.inputs.items()
        inputs: list[ColSpec | TensorSpec] = [ColSpec(kind, name, required=False) for name, kind in features]
        outputs = self._challenger.classes or (self._challenger.output,)
        return ModelSignature(Schema(inputs), Schema([ColSpec("double", name) for name in outputs]))

    def _dataset(self) -> DatasetInput:
        data = self._challenger.trained_on
        # the entity, not mlflow.data, which would open the table to count its rows
        dataset = Dataset(
            name=data.name,
            digest=data.fingerprint[:_DATASET_DIGEST],
            source_type="delta_table",
            source=json.dumps({"path": data.uri, "delta_table_version": data.version}),
            schema=json.dumps({"mlflow_colspec": [{"name": n, "type": t} for n, t in data.columns.items()]}),
            profile=json.dumps({"num_rows": data.rows}),
        )
        return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])

    def _write_files(self, folder: Path) -> None:
        challenger = self._challenger
        if challenger.trials:
            with (folder / "trials.csv").open("w", newline="", encoding="utf-8") as file:
                columns = list(dict.fromkeys(name for trial in challenger.trials for name in trial))
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows(challenger.trials)
        evidence = json.dumps(dict(challenger.evidence), indent=1, sort_keys=True)
        (folder / "evidence.json").write_text(evidence, encoding="utf-8")
        for name, path in challenger.files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                shutil.copytree(path, target)
            else:
                shutil.copyfile(path, target)
