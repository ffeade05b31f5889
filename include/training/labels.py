"""Labels of each task: their columns, as numbers, and the yes-or-no questions that they answer.

This is the only place of training that tells tasks apart by name, besides the objectives of families. Labels are
float64, shape (rows,): 0 or 1 for a binary label, the value of a regression, and the position of a row's class among
the classes of the train window.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from include.core.errors import TrainingError

Floats = NDArray[np.float64]
Column: TypeAlias = "pa.Array | pa.ChunkedArray"

_LABEL_GRAIN = 1e-3  # of a label's deviation that float32 may lose
_MOST_CLASSES = 100  # each costs a tree a round, and a row of every report
_SHOWN = 4


class Labels(ABC):
    """The labels of one task."""

    @abstractmethod
    def refuse_type(self, kind: pa.DataType, label: str) -> None:
        """Raise ``TrainingError`` if a label cannot be of this type; names the remedy."""

    def classes(self, column: Column) -> tuple[str, ...]:
        """Return the classes that the labels of the train window have, in order; none where there are no classes.

        Raises:
            TrainingError: there are too many of them.
        """
        return ()

    @abstractmethod
    def numbers(self, column: Column, classes: Sequence[str], label: str, window: str) -> Floats:
        """Return the labels of a window as numbers.

        Raises:
            TrainingError: a label is null, or none that this task can learn or judge; names window and remedy.
        """

    @abstractmethod
    def questions(self, y: Floats, classes: Sequence[str]) -> dict[str | None, Floats]:
        """Return 0/1 labels by which a single feature is judged, by class where there are classes."""


class _Numbers(Labels):
    def refuse_type(self, kind: pa.DataType, label: str) -> None:
        if not (is_number(kind) or pa.types.is_decimal(kind)):
            raise TrainingError(
                f"label {label} is {kind}, not a number; write the outcome as one in sql/training/labels.sql, for"
                f" example CAST({label} = 'yes' AS INTEGER), or say task: multiclass"
            )

    def numbers(self, column: Column, classes: Sequence[str], label: str, window: str) -> Floats:
        y: Floats = pc.fill_null(column.cast(pa.float64()), float("nan")).to_numpy(zero_copy_only=False)
        bad = int(np.count_nonzero(~np.isfinite(y)))
        if bad:
            raise TrainingError(f"{window} window: label {label} is null or not finite in {bad} rows")
        self._check(y, label, window)
        return y

    @abstractmethod
    def _check(self, y: Floats, label: str, window: str) -> None:
        """Raise ``TrainingError`` for labels that the task cannot learn."""


class _Binary(_Numbers):
    def _check(self, y: Floats, label: str, window: str) -> None:
        found = np.unique(y)
        if not np.isin(found, (0.0, 1.0)).all():
            raise TrainingError(f"{window} window: label {label} holds {found[:_SHOWN]}; a binary label is 0 or 1")
        if len(found) < 2:
            raise _one_class(window, label, f"{found[0]:.0f}", len(y))

    def questions(self, y: Floats, classes: Sequence[str]) -> dict[str | None, Floats]:
        return {None: y}


class _Regression(_Numbers):
    def _check(self, y: Floats, label: str, window: str) -> None:
        # LightGBM keeps labels as float32
        if (spread := float(y.std())) and float(np.abs(y - y.astype(np.float32)).max()) > spread * _LABEL_GRAIN:
            raise TrainingError(
                f"{window} window: label {label} is {y[0]:.15g} and the like, of which float32 keeps too few digits"
                f" for a spread of {spread:.3g}; predict its difference from a constant or from a column known before"
            )

    def questions(self, y: Floats, classes: Sequence[str]) -> dict[str | None, Floats]:
        return {None: (y > np.median(y)).astype(np.float64)}


class _Multiclass(Labels):
    """Classes, as text or whole numbers.

    A class that the train window does not have cannot be learnt. In the windows that choose and judge a model it is an
    error, because every figure there would rest on rows that no candidate can get right. Where a model in use meets one
    later, its probability counts as 0: see ``labels.with_new_classes``.
    """

    def refuse_type(self, kind: pa.DataType, label: str) -> None:
        value = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (_is_text(value) or pa.types.is_integer(value) or pa.types.is_boolean(value)):
            raise TrainingError(
                f"label {label} is {kind}; a class is text or a whole number: write it as one in "
                f"sql/training/labels.sql, for example CAST({label} AS VARCHAR)"
            )

    def classes(self, column: Column) -> tuple[str, ...]:
        found = pc.unique(column.drop_null())
        if pa.types.is_dictionary(found.type):
            found = found.dictionary_decode()
        if len(found) > _MOST_CLASSES:
            raise TrainingError(
                f"the label has {len(found):,} classes, such as {found[0]}; at most {_MOST_CLASSES} are learnt: put "
                "rare classes together in sql/training/labels.sql, or predict a number (task: regression)"
            )
        # whole numbers in their own order, not in that of their text
        return tuple(found.take(pc.sort_indices(found)).cast(pa.string()).to_pylist())

    def numbers(self, column: Column, classes: Sequence[str], label: str, window: str) -> Floats:
        if column.null_count:
            raise TrainingError(f"{window} window: label {label} is null in {column.null_count} rows")
        y, more = with_new_classes(column, classes)
        if new := more[len(classes) :]:
            rows = int(np.count_nonzero(y >= len(classes)))
            listed = ", ".join(map(repr, new[:_SHOWN]))
            raise TrainingError(
                f"{window} window: {rows} rows have the {label} {listed}, which no row of the train window has, so no "
                "model can learn it; freeze more periods, lower valid_periods and test_periods, or put rare classes "
                "together in sql/training/labels.sql"
            )
        found = np.unique(y)
        if len(found) < 2:
            raise _one_class(window, label, classes[int(found[0])], len(y))
        return y

    def questions(self, y: Floats, classes: Sequence[str]) -> dict[str | None, Floats]:
        return {name: (y == at).astype(np.float64) for at, name in enumerate(classes)}


_LABELS: Mapping[str, Labels] = {"binary": _Binary(), "regression": _Regression(), "multiclass": _Multiclass()}


def labels_of(task: str) -> Labels:
    """Return the labels of ``task``; names are checked when a spec loads."""
    return _LABELS[task]


def with_new_classes(column: Column, classes: Sequence[str]) -> tuple[Floats, tuple[str, ...]]:
    """Return the position of each row's class, and ``classes`` followed by those that are not among them."""
    texts = column.cast(pa.string())
    texts = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    known = set(classes)
    every = (*classes, *sorted(name for name in pc.unique(texts).to_pylist() if name not in known))
    y: Floats = pc.index_in(texts, value_set=pa.array(every, pa.string())).cast(pa.float64()).to_numpy()
    return y, every


def is_number(kind: pa.DataType) -> bool:
    """Tell whether a column of this type is read as numbers."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _one_class(window: str, label: str, found: str, rows: int) -> TrainingError:
    return TrainingError(
        f"{window} window: label {label} is {found} in all {rows} rows; one class cannot be learnt or judged, use a "
        "wider window"
    )
