"""Models and validation predictions of the best trials, kept so that they are not fitted a second time.

``<root>/<study>/kept/trial-0007`` appears whole or not at all and holds the family's files under ``model``,
``valid.npy`` (predictions of the validation window) and ``kept.json``.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from include.training.data import Encoding, Floats
from include.training.families import family
from include.training.families.base import Model
from include.training.judging.metrics import Metric


class KeptTrials:
    """The ``most`` best trials of a study."""

    def __init__(
        self, root: Path, study: str, metric: Metric, most: int, allowed: Callable[[], None] = lambda: None
    ) -> None:
        """Open the folder of ``study``; ``allowed`` raises when this worker may no longer write."""
        self._folder, self._metric, self._most, self._allowed = root / study / "kept", metric, most, allowed

    def put(self, trial: int, about: Mapping[str, Any], value: float, model: Model, predicted: Floats) -> None:
        """Keep a trial if it is among the best so far; ``about`` is its family and parameters."""
        place = self._folder / f"trial-{trial:04d}"
        others = self._ranked()
        if len(others) >= self._most and self._metric.worse(value, others[self._most - 1][0]):
            return
        self._allowed()
        written = self._folder / f".{place.name}-{uuid.uuid4().hex[:8]}"
        (written / "model").mkdir(parents=True)
        model.save(written / "model")
        np.save(written / "valid.npy", predicted)
        (written / "kept.json").write_text(
            json.dumps({"value": value, "about": dict(about)}, sort_keys=True), encoding="utf-8"
        )
        written.rename(place)
        for _, folder in self._ranked()[self._most :]:
            shutil.rmtree(folder, ignore_errors=True)

    def get(
        self, trial: int, about: Mapping[str, Any], encoding: Encoding, value: float
    ) -> tuple[Model, Floats] | None:
        """Return a kept trial's model and validation predictions; None if they are missing or another trial's."""
        place = self._folder / f"trial-{trial:04d}"
        try:
            kept = json.loads((place / "kept.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if kept["value"] != value or kept["about"] != json.loads(json.dumps(dict(about))):
            return None
        return family(about["family"]).load(place / "model", encoding), np.load(place / "valid.npy")

    def _ranked(self) -> list[tuple[float, Path]]:
        found = []
        for folder in self._folder.glob("trial-*"):
            try:
                found.append((float(json.loads((folder / "kept.json").read_text(encoding="utf-8"))["value"]), folder))
            except (OSError, ValueError):  # another worker removes it at this moment
                continue
        sign = -1.0 if self._metric.info.maximize else 1.0
        return sorted(found, key=lambda one: (sign * one[0], one[1].name))
