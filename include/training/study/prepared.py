"""Training data that is read, cut and encoded once and shared by all workers of a study.

A folder is named by the training set's fingerprint and by the digest of the settings that decide how it is cut. Its
files appear whole or not at all. One worker makes them, the others wait and map them into memory, so that a machine
holds the matrices once, for any number of workers.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from include.spec.families import TASKS
from include.spec.training import ModelSettings
from include.training.data import EncodedRows, Encoding, Feature, Rows, Window, Windows, split
from include.training.families.base import Cache
from include.training.imbalance import Treatment, treat
from include.training.training_set import TrainingSet

# 2: matrices are float64 where float32 would change a number
_FORMAT = 2
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Frozen:
    """A training set that is known by its fingerprint and read only when its rows are needed."""

    fingerprint: str
    read: Callable[[], TrainingSet]


@dataclass(frozen=True)
class SearchData:
    """The data of trials: the train rows after their treatment, the valid rows unchanged.

    ``classes`` is how many classes the label has: 0 where it has none.
    """

    train: Rows
    valid: EncodedRows
    treatment: Treatment
    cache: Cache | None = None
    classes: int = 0


class SharedFolder:
    """A folder of files, each made by the first process that asks; its modification time is the last request."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def file(self, name: str, write: Callable[[Path], None]) -> Path:
        """Return the file called ``name``; ``write`` makes it if it is missing, while other processes wait."""
        path = self._folder / name
        with contextlib.suppress(FileNotFoundError):
            os.utime(path)
            return path
        # a soft lock would outlive a killed worker
        with FileLock(self._folder / f".{name}.lock", preserve_lock_file=True, fallback_to_soft=False):
            if not path.exists():
                written = self._folder / f".{name}.{uuid.uuid4().hex[:8]}"
                write(written)
                written.rename(path)
        return path

    def untouched(self, since: float) -> list[Path]:
        """Return the files, lock files included, that were not asked for after ``since`` (seconds of the epoch)."""
        return sorted(path for path in self._folder.iterdir() if path.is_file() and path.stat().st_mtime < since)


def open_data(training_set: TrainingSet | Frozen, settings: ModelSettings, root: Path | None = None) -> SearchData:
    """Return the train and valid windows of a training set, encoded.

    Args:
        training_set: rows, or where to read them.
        settings: how they are cut.
        root: folder that workers share; None keeps the data in this process.

    Raises:
        TrainingError: the data cannot be learnt from.
    """
    if root is None:
        windows = split(_rows_of(training_set).table, settings)
        return _treated(encoded(windows.train), encoded(windows.valid), settings, None)
    folder = root / f"{training_set.fingerprint[:16]}-{settings.data_digest()}-{_FORMAT}"
    shared = SharedFolder(folder)
    shared.file("complete", lambda path: _prepare(folder, path, training_set, settings))
    encoding = Encoding(
        tuple(Feature(**one) for one in json.loads((folder / "features.json").read_text(encoding="utf-8")))
    )
    train, valid = (_mapped(folder, name, encoding) for name in ("train", "valid"))
    # bins and designs depend on the weights of the rows, besides the data
    treated = settings.imbalance.model_dump_json(), settings.seed
    kind = "plain" if settings.imbalance.method == "none" else _short(repr(treated))
    return _treated(train, valid, settings, SharedFolder(folder / kind))


def discard_data(root: Path, fingerprint: str) -> None:
    """Remove the prepared data of a training set; the next search makes it again."""
    for folder in root.glob(f"{fingerprint[:16]}-*"):
        shutil.rmtree(folder, ignore_errors=True)


def encoded(window: Window) -> EncodedRows:
    """Return the window without its table."""
    return EncodedRows(window.encoding, window.x, window.y, window.blocks)


def treated_rows(train: Rows, treatment: Treatment) -> Rows:
    """Return the rows that a fit learns from."""
    if treatment.rows is None:
        return train
    chosen = treatment.rows
    return EncodedRows(train.encoding, train.x[chosen], train.y[chosen], np.zeros(len(chosen), dtype=np.int64))


def _treated(train: EncodedRows, valid: EncodedRows, settings: ModelSettings, cache: Cache | None) -> SearchData:
    treatment = treat(settings.imbalance, train.y, settings.seed)
    # the classes are those of the train window, numbered from 0
    classes = int(train.y.max()) + 1 if TASKS[settings.task].classes else 0
    return SearchData(treated_rows(train, treatment), valid, treatment, cache, classes)


def _prepare(folder: Path, mark: Path, training_set: TrainingSet | Frozen, settings: ModelSettings) -> None:
    windows: Windows = split(_rows_of(training_set).table, settings)
    for window in (windows.train, windows.valid):
        for name, values in (("x", window.x), ("y", window.y), ("blocks", window.blocks)):
            _save(folder / f"{window.name}-{name}.npy", values)
    features = [feature.model_dump() for feature in windows.encoding.features]
    (folder / "features.json").write_text(json.dumps(features), encoding="utf-8")
    mark.write_text(training_set.fingerprint, encoding="utf-8")
    _log.info("training set %s prepared in %s", training_set.fingerprint[:12], folder)


def _save(path: Path, values: NDArray[np.generic]) -> None:
    # replace, never overwrite: a process that maps a killed worker's file must keep seeing the same bytes
    written = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with written.open("wb") as file:
        np.save(file, values)
    written.rename(path)


def _mapped(folder: Path, name: str, encoding: Encoding) -> EncodedRows:
    x = np.load(folder / f"{name}-x.npy", mmap_mode="r")
    return EncodedRows(encoding, x, np.load(folder / f"{name}-y.npy"), np.load(folder / f"{name}-blocks.npy"))


def _rows_of(training_set: TrainingSet | Frozen) -> TrainingSet:
    return training_set.read() if isinstance(training_set, Frozen) else training_set


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
