"""Predictions as arrays, as one number a row, and as columns of a published table.

Predictions of a binary label or of a number have the shape (rows,). Predictions of classes have the shape
(rows, classes): probabilities in the order of the model's classes, each row adding up to 1. The shape alone says which
of the two they are, so that judging, blending and monitoring need not ask for the task.

A table holds the probabilities of all classes in one column of JSON text, ``{"late": 0.25, "on time": 0.75}``: columns
of a published table cannot change, and the next model may know other classes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PREDICTION = "prediction"
"""Column of the probability of 1 or the value; of classes, the most likely one, as text."""

PROBABILITY = "probability"
"""Column of the predicted class's probability; published for classes only."""

PROBABILITIES = "probabilities"
"""Column of each class's probability, as a JSON object; published for classes only."""


def targets(y: Floats, classes: int) -> Floats:
    """Return the perfect prediction of ``y``: itself, or 1 for the row's class and 0 for the others."""
    if not classes:
        return y
    return np.asarray(y[:, None] == np.arange(classes), dtype=np.float64)


def most_likely(predicted: Floats) -> NDArray[np.int64]:
    """Return the position of each row's most likely class; of equal ones the first."""
    return np.asarray(predicted.argmax(axis=1), dtype=np.int64)


def in_one_number(y: Floats, predicted: Floats) -> tuple[Floats, Floats]:
    """Return outcomes and predictions of which only the means are compared, each of shape (rows,).

    Predictions of classes become the probability of the most likely class, and their outcome whether it was right.
    """
    if predicted.ndim == 1:
        return y, predicted
    best = most_likely(predicted)
    return np.asarray(best == y, dtype=np.float64), predicted[np.arange(len(best)), best]


def among(predicted: Floats, known: Sequence[str], classes: Sequence[str]) -> Floats:
    """Return probabilities of ``known`` classes as probabilities of ``classes``, which hold all known ones.

    A class that the model does not know has the probability 0.
    """
    if predicted.ndim == 1 or tuple(known) == tuple(classes):
        return predicted
    found = np.zeros((len(predicted), len(classes)))
    found[:, [list(classes).index(name) for name in known]] = predicted
    return found


def union(known: Sequence[str], more: Sequence[str]) -> tuple[str, ...]:
    """Return the classes of ``known``, then those of ``more`` that are not among them."""
    return tuple(dict.fromkeys((*known, *more)))


def columns(predicted: Floats, classes: Sequence[str]) -> dict[str, pa.Array]:
    """Return the columns in which predictions are published and kept; NaN becomes null where it would be text."""
    if predicted.ndim == 1:
        return {PREDICTION: pa.array(predicted, pa.float64())}
    best, known = most_likely(predicted), ~np.isnan(predicted).any(axis=1)
    names = pa.array(classes, pa.string()).take(pa.array(best))
    return {
        PREDICTION: pc.if_else(pa.array(known), names, None),
        PROBABILITY: pa.array(np.where(known, predicted[np.arange(len(best)), best], np.nan), pa.float64()),
        PROBABILITIES: pc.if_else(pa.array(known), _objects(predicted, classes), None),
    }


def _objects(predicted: Floats, classes: Sequence[str]) -> pa.Array:
    """Return each row as a JSON object; numbers are written with all digits that they need to be read back exactly."""
    parts: list[pa.Array | pa.Scalar] = []
    for at, name in enumerate(classes):
        before = f"{', ' if at else '{'}{json.dumps(name, ensure_ascii=False)}: "
        parts += [pa.scalar(before), pa.array(predicted[:, at], pa.float64()).cast(pa.string())]
    return pc.binary_join_element_wise(*parts, pa.scalar("}"), "")


def of_columns(rows: pa.Table, classes: Sequence[str]) -> Floats:
    """Read what :func:`columns` made: probabilities in the order of ``classes``, or numbers where there are none."""
    if not classes:
        return np.asarray(rows[PREDICTION].to_numpy(), dtype=np.float64)
    found = np.zeros((rows.num_rows, len(classes)))
    for at, text in enumerate(rows[PROBABILITIES].to_pylist()):
        probabilities = json.loads(text)
        found[at] = [probabilities.get(name, 0.0) for name in classes]
    return found
