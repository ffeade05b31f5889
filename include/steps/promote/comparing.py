"""Compare a challenger with the champion: both models' predictions of the same rows, and the guardrails."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from include.promotion import gates, guardrails
from include.promotion.reproduction import Reproduction
from include.registry.model_versions import Version
from include.steps.promote import reproducing
from include.steps.score import predicting, recalibration
from include.steps.train import training_sets
from include.steps.workspace import Workspace
from include.training.data import Window, Windows, split
from include.training.judging import leakage
from include.training.judging.metrics import Floats
from include.training.model import read_evidence, read_manifest
from include.training.predictions import among, union
from include.training.training_set import TrainingSet


@dataclass(frozen=True)
class Comparison:
    """The verdict of the gates, and the measurements of the new process that loaded the challenger."""

    verdict: gates.Verdict
    reproduced: Reproduction


def compare(workspace: Workspace, found: Version, champion: int | None) -> Comparison:
    """Judge a registered version against the champion on the test window of its own training set.

    Raises:
        TrainingError: the gates cannot judge (see ``gates.judge``), or the version does not reproduce its own
            predictions in a new process.
    """
    case = workspace.case
    reproduced = reproducing.reproduce(workspace, found.number)
    training_set = training_sets.of_version(workspace, found)
    windows = split(training_set.table, case.training)
    challenger = _predictions(workspace, found.number, windows)
    others = None if champion is None else _predictions(workspace, champion, windows)
    classes = union(challenger.classes, () if others is None else others.classes)
    test = gates.TestRows(
        keys=np.asarray(windows.test.keys)[windows.test.codes],
        y=windows.test.y,
        challenger=among(challenger.values, challenger.classes, classes),
        champion=None if others is None else among(others.values, others.classes, classes),
        slices={column: masks(windows.test, column) for column in case.gates.slices},
    )
    measured = [
        *_feature_guardrails(workspace, training_set),
        *guardrails.cost_guardrails(reproduced.model_dump(), case.gates.cost),
    ]
    if champion is None:
        rails, remarks = _against_baselines(workspace, found.number)
        measured += rails
    else:
        remarks = _remarks(workspace, champion, windows.test)
    return Comparison(gates.judge(test, case.gates, measured, remarks), reproduced)


@dataclass(frozen=True)
class _Predictions:
    """Predictions of the test rows, and the classes of their columns."""

    values: Floats
    classes: tuple[str, ...]


def _predictions(workspace: Workspace, version: int, windows: Windows) -> _Predictions:
    """Predict the test rows with a version, recalibrated day by day where scoring does so.

    The classes of the training set come first, in their order: labels are positions among them.
    """
    model = predicting.load_version(workspace, version)
    predicted = recalibration.shifted_test(model, windows, workspace.case, workspace.settings.threads)[0]
    known = model.manifest.classes
    classes = union(windows.classes, known)
    return _Predictions(among(predicted, known, classes), classes)


def masks(window: Window, column: str) -> dict[str, NDArray[np.bool_]]:
    """Return a mask of the rows of each value of ``column``, most frequent first; null is ``null``."""
    values = pc.fill_null(window.table.column(column).cast("string"), "null").to_numpy(zero_copy_only=False)
    names, counts = np.unique(values.astype(str), return_counts=True)
    ordered = names[np.argsort(-counts, kind="stable")]
    return {str(name): np.asarray(values == name) for name in ordered}


def _feature_guardrails(workspace: Workspace, training_set: TrainingSet) -> list[guardrails.Guardrail]:
    threshold = workspace.case.gates.feature_auc
    if threshold is None:
        return []
    probes = leakage.probe(training_set.table, workspace.case.training, threshold=threshold)
    return guardrails.feature_guardrails(probes, threshold)


def _against_baselines(workspace: Workspace, version: int) -> tuple[list[guardrails.Guardrail], list[str]]:
    """Return what the first champion must be better than, and remarks where nothing asks for it."""
    spec = workspace.case.gates
    if spec.baselines_waived is not None:
        return [], [f"it need not be better than the baselines: {spec.baselines_waived}"]
    folder = predicting.model_folder(workspace, version)
    evidence = read_evidence(folder)
    if not evidence.differences:
        return [], ["training.baselines names none, so nothing says that the model is better than no model"]
    return guardrails.baseline_guardrails(spec.metric, evidence.differences), []


def _remarks(workspace: Workspace, champion: int, test: Window) -> list[str]:
    """Return remarks on what makes the comparison uneven."""
    known = read_manifest(predicting.model_folder(workspace, champion)).known_of(test.keys)
    if not known:
        return []
    return [f"the champion learnt from {known} of the {len(test.keys)} test partitions, which favours it"]
