"""A finished study made into a model directory: fit the winner, calibrate, judge, write."""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from include.core.errors import TrainingError
from include.spec.training import ModelSettings
from include.training.blend import choose
from include.training.calibration import CALIBRATORS
from include.training.data import Floats, Windows, split
from include.training.families import family
from include.training.families.base import Fitting, Model
from include.training.imbalance import corrected, treat
from include.training.judging.evidence import Evidence, evaluate
from include.training.judging.metrics import metric
from include.training.model import (
    BLEND,
    EVIDENCE,
    Blend,
    LoadedModel,
    Manifest,
    TrainingSetRecord,
    digest,
    load_model,
    mean_of,
    save_model,
)
from include.training.study.kept_trials import KeptTrials
from include.training.study.prepared import treated_rows
from include.training.study.results import BestTrial, best_trials, study_progress
from include.training.training_set import TrainingSet

_LIBRARIES = ("lightgbm", "scikit-learn", "optuna", "numpy", "pyarrow")
_NETWORK_LIBRARIES = ("torch", "safetensors")
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
    device: str = "auto",
    checkpoints: Path | None = None,
    write_reference: WriteReference | None = None,
) -> FittedModel:
    """Fit the study's winner and write it, with its evidence, into ``directory``.

    ``checkpoints`` is the folder that the search was given: a model that the search kept there is not fitted again.
    The model is fitted on train, stopped and calibrated on valid, and judged on test. The judged model is read
    back from the directory, so that the evidence is about exactly the files that are registered.

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
    windows = split(training_set.table, settings)
    job = _Job(windows, training_set, settings, use_case, threads, device, checkpoints)
    fitted = _winner(job, best_trials(storage, study, settings.ensemble_size if job.blends else 1))
    save_model(fitted, directory)
    loaded = load_model(directory)
    evidence = evaluate(loaded, windows, settings, threads)
    (directory / EVIDENCE).write_text(evidence.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if write_reference is not None:
        write_reference(directory, windows.test.table, loaded.predict(windows.test.table, threads))
    _log.info("%s of %s written to %s", fitted.manifest.family, study, directory)
    return FittedModel(directory, digest(directory), loaded.manifest, evidence)


@dataclass(frozen=True)
class _Job:
    windows: Windows
    training_set: TrainingSet
    settings: ModelSettings
    use_case: str
    threads: int
    device: str
    checkpoints: Path | None

    @property
    def blends(self) -> bool:
        return self.settings.ensemble == "greedy"


@dataclass(frozen=True)
class _Member:
    """A trial's model and its predictions of the validation window, at the true odds."""

    trial: BestTrial
    model: Model
    odds: float
    predicted: Floats


def _winner(job: _Job, trials: list[BestTrial]) -> LoadedModel:
    """Return the best trial's model, or a blend of the best trials if it is better by the whole interval."""
    members = _members(job, trials)
    best, valid, settings = members[0], job.windows.valid, job.settings
    judge = metric(settings.metric)
    if not job.blends:
        return _calibrated(job, best.predicted, _manifest(job, best, judge.value(valid.y, best.predicted)), best.model)
    predictions = [member.predicted for member in members]
    choice = choose(judge, valid.y, predictions, valid.blocks, resamples=settings.resamples, seed=settings.seed)
    _log.info("blend of %d trials against the best one: %s", np.count_nonzero(choice.weights), choice.difference)
    if not choice.better:
        manifest = _manifest(job, best, judge.value(valid.y, best.predicted)).model_copy(
            update={"blend": choice.difference}
        )
        return _calibrated(job, best.predicted, manifest, best.model)
    used = [(member, weight) for member, weight in zip(members, choice.weights, strict=True) if weight]
    blended = mean_of([member.predicted for member, _ in used], [weight for _, weight in used])
    manifest = _manifest(job, best, judge.value(valid.y, blended)).model_copy(
        update={
            "family": BLEND,
            "params": {f"trial_{member.trial.number}.{member.trial.family}": weight for member, weight in used},
            "odds": 1.0,
            "blend": choice.difference,
            "libraries": {name: v for member, _ in used for name, v in _libraries(member.trial.family).items()},
        }
    )
    return _calibrated(job, blended, manifest, Blend(
        tuple(_alone(job, member) for member, _ in used), tuple(weight for _, weight in used)
    ))  # fmt: skip


def _alone(job: _Job, member: _Member) -> LoadedModel:
    value = metric(job.settings.metric).value(job.windows.valid.y, member.predicted)
    manifest = _manifest(job, member, value).model_copy(update={"calibration": "none", "evidence": None})
    return LoadedModel(manifest, member.model, None)


def _calibrated(job: _Job, predicted: Floats, manifest: Manifest, model: Model) -> LoadedModel:
    kind = CALIBRATORS.get(job.settings.calibration)
    return LoadedModel(manifest, model, None if kind is None else kind.learn(job.windows.valid.y, predicted))


def _members(job: _Job, trials: list[BestTrial]) -> list[_Member]:
    """Return the trials' models as the search kept them; fit again those that it did not keep."""
    settings, windows = job.settings, job.windows
    treatment = treat(settings.imbalance, windows.train.y, settings.seed)
    fitting = Fitting(
        settings.task,
        metric(settings.metric),
        job.threads,
        settings.seed,
        device=job.device,
        positive_weight=treatment.positive_weight,
        focal=treatment.focal,
        odds=treatment.odds,
        classes=len(windows.classes),
    )
    prepared: dict[str, Any] = {}
    members = []
    for trial in trials:
        kept = _kept(job, trial)
        if kept is None:
            kind, space = family(trial.family), settings.space(trial.family)
            if trial.family not in prepared:
                train = treated_rows(windows.train, treatment)
                prepared[trial.family] = kind.prepare(train, windows.valid, space, fitting)
            model = kind.fit(trial.params, prepared[trial.family], fitting)
            kept = model, corrected(model.predict(windows.valid.x, job.threads), treatment.odds)
        members.append(_Member(trial, kept[0], treatment.odds, kept[1]))
    return members


def _kept(job: _Job, trial: BestTrial) -> tuple[Model, Floats] | None:
    if job.checkpoints is None:
        return None
    kept = KeptTrials(job.checkpoints, trial.study, metric(job.settings.metric), job.settings.ensemble_size)
    about = {"family": trial.family, "params": trial.params}
    return kept.get(trial.number, about, job.windows.encoding, trial.value)


def _libraries(name: str) -> dict[str, str]:
    wanted = [*_LIBRARIES, *(_NETWORK_LIBRARIES if name.startswith("torch_") else ())]
    # a build's own suffix names no release that could be installed elsewhere
    return {library: importlib.metadata.version(library).partition("+")[0] for library in wanted}


def _manifest(job: _Job, member: _Member, fit_value: float) -> Manifest:
    windows, settings, best = job.windows, job.settings, member.trial
    spans = {window.name: window.span for window in (windows.train, windows.valid, windows.test)}
    return Manifest(
        use_case=job.use_case,
        task=settings.task,
        label=settings.label,
        family=best.family,
        params=best.params,
        features=windows.encoding.features,
        classes=windows.classes,
        label_range=settings.label_range,
        calibration=settings.calibration,
        training_set=TrainingSetRecord(
            fingerprint=job.training_set.fingerprint,
            uri=job.training_set.uri,
            version=job.training_set.version,
            windows=spans,
        ),
        trained_through=windows.test.keys[-1],
        seed=settings.seed,
        threads=job.threads,
        study=best.study,
        trial=best.number,
        metric=best.metric,
        search_value=best.value,
        fit_value=fit_value,
        libraries=_libraries(best.family),
        settings=settings.model_dump(mode="json"),
        odds=member.odds,
    )
