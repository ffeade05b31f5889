"""From a finished study to a model directory: fit the winner, calibrate, judge, write."""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from include.errors import TrainingError
from include.training.calibration import Isotonic
from include.training.data import Floats, Windows, split
from include.training.evidence import Evidence, evaluate
from include.training.families import family
from include.training.families.base import Fitting
from include.training.metrics import metric
from include.training.model import (
    EVIDENCE,
    LoadedModel,
    Manifest,
    TrainingSetRecord,
    digest,
    load_model,
    save_model,
)
from include.training.spec import ModelSettings
from include.training.study import BestTrial, best_trial, study_progress
from include.training.training_set import TrainingSet

_LIBRARIES = ("lightgbm", "scikit-learn", "optuna", "numpy", "pyarrow")
_log = logging.getLogger(__name__)

# (model directory, rows of the test window, their predictions): writes reference.* files
WriteReference = Callable[[Path, pa.Table, Floats], None]


@dataclass(frozen=True)
class FittedModel:
    """A written model directory: ``digest`` is over its final contents, evidence and reference included."""

    directory: Path
    digest: str
    manifest: Manifest
    evidence: Evidence


def fit_best(
    storage: str,
    study: str,
    training_set: TrainingSet,
    settings: ModelSettings,
    directory: Path,
    *,
    use_case: str,
    threads: int = 1,
    write_reference: WriteReference | None = None,
) -> FittedModel:
    """Fit the study's winner and write it, with its evidence, into ``directory``.

    The model is fitted on train, stopped and calibrated on valid and judged on test; what is judged
    is the directory read back, so that the evidence is about exactly what is registered.

    Raises:
        TrainingError: the study is unfinished or has no completed trial, or belongs to another
            training set, or ``directory`` already holds a model.
    """
    progress = study_progress(storage, study)
    if not progress.finished:
        raise TrainingError(f"study is not finished: {progress}; run the search again, it continues")
    if training_set.fingerprint[:12] not in study:
        raise TrainingError(
            f"study {study} does not belong to training set {training_set.fingerprint[:12]}; "
            "name the study with study_name()"
        )
    best = best_trial(storage, study)
    windows = split(training_set.table, settings)
    fitted = _fit(best, windows, training_set, settings, use_case, threads)
    save_model(fitted, directory)
    loaded = load_model(directory)
    evidence = evaluate(loaded, windows, settings, threads)
    (directory / EVIDENCE).write_text(evidence.model_dump_json(indent=2) + "\n")
    if write_reference is not None:
        write_reference(directory, windows.test.table, loaded.predict(windows.test.table, threads))
    _log.info("%s of %s written to %s", best.family, study, directory)
    return FittedModel(directory, digest(directory), loaded.manifest, evidence)


def _fit(
    best: BestTrial,
    windows: Windows,
    training_set: TrainingSet,
    settings: ModelSettings,
    use_case: str,
    threads: int,
) -> LoadedModel:
    fitting = Fitting(settings.task, metric(settings.metric), threads, settings.seed)
    kind = family(best.family)
    prepared = kind.prepare(windows.train, windows.valid, settings.space(best.family), fitting)
    model = kind.fit(best.params, prepared, fitting)
    predicted = model.predict(windows.valid.x, threads)
    calibrator = Isotonic.learn(windows.valid.y, predicted) if settings.calibration == "isotonic" else None
    fit_value = fitting.metric.value(windows.valid.y, predicted)
    manifest = _manifest(best, windows, training_set, settings, use_case, threads, fit_value)
    return LoadedModel(manifest, model, calibrator)


def _manifest(
    best: BestTrial,
    windows: Windows,
    training_set: TrainingSet,
    settings: ModelSettings,
    use_case: str,
    threads: int,
    fit_value: float,
) -> Manifest:
    spans = {window.name: window.span for window in (windows.train, windows.valid, windows.test)}
    return Manifest(
        use_case=use_case,
        task=settings.task,
        label=settings.label,
        family=best.family,
        params=best.params,
        features=windows.encoding.features,
        calibration=settings.calibration,
        training_set=TrainingSetRecord(
            fingerprint=training_set.fingerprint,
            uri=training_set.uri,
            version=training_set.version,
            windows=spans,
        ),
        trained_through=windows.test.day_names[-1],
        seed=settings.seed,
        threads=threads,
        study=best.study,
        trial=best.number,
        metric=best.metric,
        search_value=best.value,
        fit_value=fit_value,
        libraries={name: importlib.metadata.version(name) for name in _LIBRARIES},
        settings=settings.model_dump(mode="json"),
    )
