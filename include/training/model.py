"""A model directory: its files, their digest, and the model that predicts.

manifest.json      kind, parameters and origin of the model
model/             the family's own files
calibration.json   only when the model is calibrated
evidence.json      metrics on the test window
reference.*        rows that monitoring compares later days with, written by the caller
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from include.core.errors import DigestMismatch, SourceError, TrainingError
from include.core.words import nearest
from include.spec.families import FAMILIES
from include.training.calibration import CALIBRATORS, Calibrator
from include.training.data import Encoding, Feature, Floats, Matrix
from include.training.families import family
from include.training.families.base import Model
from include.training.imbalance import corrected
from include.training.interval import Difference
from include.training.judging.evidence import Evidence

MANIFEST = "manifest.json"
EVIDENCE = "evidence.json"
_CALIBRATION = "calibration.json"
BLEND = "blend"
_MODEL = "model"
_WEIGHTS = "weights.json"


class TrainingSetRecord(BaseModel):
    """The rows that a model was made from; ``windows`` has first and last day, days and rows of each."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fingerprint: str
    uri: str
    version: int | None
    windows: dict[str, dict[str, str | int]]


class Manifest(BaseModel):
    """The description of a model, with everything needed to make it again.

    Attributes:
        trained_through: last day whose outcome the model or its judgement has seen. The model may score
            later days without knowing their outcomes.
        search_value: the metric of the winning trial; ``fit_value`` that of this fit of it.
        classes: the classes that it predicts, in the order of its predictions' columns; none where the label has no
            classes.
        evidence: name of the file with the test metrics.
        label_range: least and largest value of a prediction; None for no bound.
        odds: factor by which the odds that the family's model predicts are too high, from how rare
            positives were dealt with; 1 when it predicts probabilities of the real world.
        blend: how a blend of the best trials compared with the best one on the validation window; None
            when none was asked for. ``family`` says whether it was kept.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = 1
    use_case: str
    task: str
    label: str
    family: str
    params: dict[str, Any]
    features: tuple[Feature, ...]
    calibration: str
    training_set: TrainingSetRecord
    trained_through: str
    seed: int
    threads: int
    study: str
    trial: int
    metric: str
    search_value: float
    fit_value: float
    evidence: str | None = EVIDENCE
    classes: tuple[str, ...] = ()
    label_range: tuple[float | None, float | None] | None = None
    odds: float = 1.0
    blend: Difference | None = None
    libraries: dict[str, str]
    settings: dict[str, Any]

    def known_of(self, keys: Sequence[str]) -> int:
        """Return how many of the partitions ``keys`` the model was fitted on or chosen by."""
        windows = self.training_set.windows
        last = max((str(window["last"]) for name, window in windows.items() if name != "test"), default="")
        return sum(key <= last for key in keys)


@dataclass(frozen=True)
class LoadedModel:
    """A model read from its directory, or just fitted; predicts from named columns."""

    manifest: Manifest
    model: Model
    calibrator: Calibrator | None

    @property
    def encoding(self) -> Encoding:
        """Return the map from columns to the model's matrix."""
        return Encoding(self.manifest.features)

    def predict(self, rows: pa.Table | pa.RecordBatch, threads: int = 1) -> Floats:
        """Predict probabilities of 1 or values, shape (rows,), or of classes, shape (rows, classes), in row order.

        Raises:
            SourceError: the rows lack features, or one has another type than in training.
        """
        raw = self.predict_raw(rows, threads)
        found = raw if self.calibrator is None else self.calibrator.apply(raw)
        return found if self.manifest.label_range is None else np.clip(found, *self.manifest.label_range)

    def predict_raw(self, rows: pa.Table | pa.RecordBatch, threads: int = 1) -> Floats:
        """Predict without calibration; raises like :meth:`predict`."""
        self._check(rows.schema)
        return self.predict_encoded(self.encoding.encode(rows), threads)

    def predict_encoded(self, x: Matrix, threads: int = 1) -> Floats:
        """Predict encoded rows without calibration."""
        return corrected(self.model.predict(x, threads), self.manifest.odds)

    def importance(self) -> dict[str, float]:
        """Return each feature's importance in the family's unit, largest first."""
        pairs = zip(self.encoding.names, self.model.importance().tolist(), strict=True)
        return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))

    def _check(self, schema: pa.Schema) -> None:
        label = f"model of study {self.manifest.study}, trial {self.manifest.trial}"
        missing = [name for name in self.encoding.names if name not in schema.names]
        if missing:
            raise SourceError(
                f"{label} needs features {', '.join(missing)}, which the rows lack; build the features "
                "of the version it was trained with, or score with another model"
            )
        for feature in self.manifest.features:
            kind = schema.field(feature.name).type
            text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind)
            if feature.categories is None and text:
                raise SourceError(f"{label}: feature {feature.name} was a number in training, here it is {kind}")
            if feature.categories is not None and pa.types.is_floating(kind):
                raise SourceError(f"{label}: feature {feature.name} was a category in training, here it is {kind}")


@dataclass(frozen=True)
class Blend:
    """A weighted mean of models of the same features; ``weights`` add up to 1."""

    members: tuple[LoadedModel, ...]
    weights: tuple[float, ...]

    def predict(self, x: Matrix, threads: int = 1) -> Floats:
        """Return the weighted mean of the members' predictions, of their shape."""
        return mean_of([member.predict_encoded(x, threads) for member in self.members], self.weights)

    def importance(self) -> Floats:
        """Return the weighted mean of the members' shares of importance."""
        shares = []
        for member, weight in zip(self.members, self.weights, strict=True):
            own = member.model.importance()
            shares.append(weight * own / (own.sum() or 1.0))
        return np.asarray(np.sum(shares, axis=0), dtype=np.float64)

    def save(self, folder: Path) -> None:
        """Write each member as a model directory of its own, and the weights."""
        for i, member in enumerate(self.members):
            save_model(member, folder / f"member-{i}")
        (folder / _WEIGHTS).write_text(json.dumps(self.weights), encoding="utf-8")


def mean_of(predictions: Sequence[Floats], weights: Sequence[float]) -> Floats:
    """Return the weighted mean of predictions of one shape; of classes, each row adds up to 1 again."""
    return np.asarray(sum(weight * one for one, weight in zip(predictions, weights, strict=True)))


def save_model(model: LoadedModel, folder: Path) -> None:
    """Write manifest, model and calibration into ``folder``, which must not hold a model yet."""
    if (folder / MANIFEST).exists():
        raise TrainingError(f"{folder} already holds a model; a model directory is written once")
    (folder / _MODEL).mkdir(parents=True, exist_ok=True)
    model.model.save(folder / _MODEL)
    if model.calibrator is not None:
        model.calibrator.save(folder / _CALIBRATION)
    (folder / MANIFEST).write_text(model.manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")


def load_model(folder: Path | str, expected_digest: str | None = None) -> LoadedModel:
    """Read a model directory; nothing in it is executed or unpickled.

    Args:
        folder: a model directory.
        expected_digest: the digest stored at registration; checked before any file is parsed.

    Raises:
        DigestMismatch: the files are not the registered ones.
        TrainingError: the directory is no model directory of a known format.
    """
    folder = Path(folder)
    if expected_digest is not None:
        verify(folder, expected_digest)
    manifest = read_manifest(folder)
    kind = CALIBRATORS.get(manifest.calibration)
    calibrator = None if kind is None else kind.load(folder / _CALIBRATION)
    load = load_blend if manifest.family == BLEND else family(manifest.family).load
    return LoadedModel(manifest, load(folder / _MODEL, Encoding(manifest.features)), calibrator)


def load_blend(folder: Path, encoding: Encoding) -> Blend:
    """Read what :meth:`Blend.save` wrote."""
    weights = tuple(float(weight) for weight in json.loads((folder / _WEIGHTS).read_text(encoding="utf-8")))
    return Blend(tuple(load_model(folder / f"member-{i}") for i in range(len(weights))), weights)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a model directory, without its model.

    Raises:
        TrainingError: the directory is no model directory of a known format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise TrainingError(f"{folder} holds no {MANIFEST}; it is not a model directory")
    try:
        manifest = Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise TrainingError(f"{path} is not a manifest of this version: {error}") from error
    if manifest.family not in {BLEND, *FAMILIES}:
        raise TrainingError(f'{path}: family "{manifest.family}" unknown{nearest(manifest.family, FAMILIES)}')
    return manifest


def read_evidence(folder: Path) -> Evidence:
    """Read the evidence in a model directory."""
    return Evidence.model_validate_json((folder / EVIDENCE).read_text(encoding="utf-8"))


def digest(folder: Path | str) -> str:
    """Return the sha256 over every file's relative path and contents, sorted by path (64 hex digits)."""
    folder = Path(folder)
    total = hashlib.sha256()
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    for name in sorted(paths):
        contents = hashlib.sha256(paths[name].read_bytes()).hexdigest()
        total.update(f"{name}\0{contents}\n".encode())
    return total.hexdigest()


def verify(folder: Path | str, expected: str) -> None:
    """Raise if the files of a model directory do not have the digest ``expected``.

    Raises:
        DigestMismatch: a file was changed, added or removed since registration.
    """
    found = digest(folder)
    if found != expected:
        raise DigestMismatch(
            f"model files in {folder} have digest {found[:12]}, registered was {expected[:12]}: they were "
            "changed after registration; download them again or roll back to another version"
        )
