"""Describe a fitted model as MLflow records it: parameters, metrics, data, tags."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from include.registry.registration import Challenger, TrainedOn
from include.training.fit import FittedModel
from include.training.interval import Interval
from include.training.judging.evidence import MODEL, Evidence
from include.training.training_set import TrainingSet

_NOT_IN_A_METRIC_NAME = re.compile(r"[^\w\-.]+")  # MLflow refuses these


def describe(
    fitted: FittedModel,
    training_set: TrainingSet,
    trials: list[dict[str, object]],
    *,
    training_set_name: str,
    code_version: str,
    dag_run_id: str,
    output: str,
    files: Mapping[str, Path] | None = None,
    more_tags: Mapping[str, str] | None = None,
) -> Challenger:
    """Return everything to register about ``fitted``.

    ``trials`` is the study's table as rows; ``output`` names the predicted column. Loading the model needs
    the libraries that its manifest names, in those versions.
    """
    manifest = fitted.manifest
    return Challenger(
        use_case=manifest.use_case,
        model_dir=fitted.directory,
        digest=fitted.digest,
        trained_on=TrainedOn(
            name=training_set_name,
            fingerprint=training_set.fingerprint,
            uri=training_set.uri,
            version=training_set.version,
            rows=training_set.table.num_rows,
            columns={field.name: str(field.type) for field in training_set.table.schema},
        ),
        trained_through=manifest.trained_through,
        study=manifest.study,
        seed=manifest.seed,
        code_version=code_version,
        dag_run_id=dag_run_id,
        params={
            "family": manifest.family,
            "trial": manifest.trial,
            "calibration": manifest.calibration,
            "task": manifest.task,
            **{f"{manifest.family}.{name}": value for name, value in manifest.params.items()},
        },
        metrics={"search_value": manifest.search_value, **flat_metrics(fitted.evidence)},
        inputs={feature.name: _mlflow_type(training_set.table.column(feature.name)) for feature in manifest.features},
        output=output,
        requirements=[f"{name}=={version}" for name, version in sorted(manifest.libraries.items())],
        trials=trials,
        evidence=fitted.evidence.model_dump(mode="json"),
        files=files or {},
        classes=manifest.classes,
        more_tags={"family": manifest.family, **(more_tags or {})},
    )


def flat_metrics(evidence: Evidence) -> dict[str, float | None]:
    """Return the evidence's metrics as MLflow columns: ``log_loss``, ``log_loss.low``, ``constant/log_loss``."""
    flat: dict[str, float | None] = {}
    for candidate, found in evidence.metrics.items():
        prefix = "" if candidate == MODEL else _NOT_IN_A_METRIC_NAME.sub(" ", candidate).strip() + "/"
        for name, interval in found.items():
            flat |= _with_bounds(f"{prefix}{name}", interval)
    return flat


def _with_bounds(name: str, interval: Interval) -> dict[str, float | None]:
    return {name: interval.value, f"{name}.low": interval.low, f"{name}.high": interval.high}


def _mlflow_type(column: pa.ChunkedArray) -> str:
    if pa.types.is_boolean(column.type):
        return "boolean"
    # MLflow refuses whole numbers for a double; in a pandas frame they are doubles once one is missing
    if pa.types.is_integer(column.type):
        return "double" if column.null_count else "long"
    return "double" if pa.types.is_floating(column.type) else "string"
