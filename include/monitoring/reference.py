"""The reference for drift: profile and sample of a model's test window, kept in the model's directory.

The test window is the youngest part of the training set, and the only part that the model was not fitted to. So it
is the reference for features and predictions. The model's digest covers both files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from include.core.errors import LifecycleError
from include.monitoring.profile import Floats, ReferenceProfile, profile
from include.spec.families import TASKS
from include.training.data import Feature
from include.training.labels import with_new_classes
from include.training.model import Manifest, read_manifest
from include.training.predictions import PREDICTION, PROBABILITIES, columns, targets

_PROFILE = "reference.json"
_SAMPLE = "reference.parquet"
_SAMPLE_ROWS = 5_000


@dataclass(frozen=True)
class Reference:
    """A model's reference: the profile for the decision, the sample (at most 5,000 rows) for the pictures."""

    profile: ReferenceProfile
    sample: pa.Table


def write_reference(folder: Path, rows: pa.Table, predicted: Floats) -> None:
    """Write profile and sample of ``rows`` and of the model's predictions for them into the model's directory.

    The model's manifest names features and label. The same rows give the same bytes.
    """
    manifest = read_manifest(folder)
    numeric, categorical = columns_by_kind(manifest.features)
    watched, said = rows.select([*numeric, *categorical, manifest.label]), columns(predicted, manifest.classes)
    for name, column in said.items():
        watched = watched.append_column(name, column)
    made = profile(
        watched,
        (*numeric, *_of_kind(said, numbers=True)),
        (*categorical, *_of_kind(said, numbers=False)),
        prediction=PREDICTION,
        label=manifest.label if TASKS[manifest.task].rare_positives else None,
    ).model_copy(update={"class_shares": _class_shares(rows, manifest), "label_mean": _label_mean(rows, manifest)})
    (folder / _PROFILE).write_text(made.model_dump_json() + "\n", encoding="utf-8")
    chosen = np.arange(watched.num_rows)
    if watched.num_rows > _SAMPLE_ROWS:
        draw = np.random.default_rng(manifest.seed)
        chosen = np.sort(draw.choice(watched.num_rows, _SAMPLE_ROWS, replace=False))
    pq.write_table(watched.drop_columns([manifest.label]).take(chosen), folder / _SAMPLE)


def _of_kind(said: Mapping[str, pa.Array], *, numbers: bool) -> list[str]:
    """Return the columns of predictions whose drift is measured as numbers, or as categories."""
    return [
        name
        for name, column in said.items()
        # every row has a text of its own there
        if name != PROBABILITIES and pa.types.is_floating(column.type) is numbers
    ]


def _label_mean(rows: pa.Table, manifest: Manifest) -> float | None:
    """Return the mean label where it is a number; None for shares."""
    return None if TASKS[manifest.task].shares else pc.mean(rows[manifest.label].cast(pa.float64())).as_py()


def _class_shares(rows: pa.Table, manifest: Manifest) -> dict[str, float]:
    """Return the share of each class among the labels; empty where there are no classes."""
    if not manifest.classes:
        return {}
    y, _ = with_new_classes(rows[manifest.label], manifest.classes)
    return dict(zip(manifest.classes, targets(y, len(manifest.classes)).mean(axis=0).tolist(), strict=True))


def read_reference(folder: Path) -> Reference:
    """Read the reference of the model in ``folder``.

    Raises:
        LifecycleError: there is no reference, or it cannot be read.
    """
    try:
        made = ReferenceProfile.model_validate_json((folder / _PROFILE).read_text(encoding="utf-8"))
        return Reference(made, pq.read_table(folder / _SAMPLE, use_threads=False, partitioning=None))
    except (OSError, ValidationError, pa.ArrowInvalid) as error:
        raise LifecycleError(
            f"model directory {folder} has no readable reference ({error}); train the model again: "
            "training writes the reference that drift is measured against"
        ) from error


def columns_by_kind(features: Iterable[Feature]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the numeric and of the categorical features, in model order."""
    listed = list(features)
    numeric = tuple(feature.name for feature in listed if feature.categories is None)
    return numeric, tuple(feature.name for feature in listed if feature.categories is not None)
