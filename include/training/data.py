"""A frozen training set as matrices: roles of columns, split by day, encoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from include.core import partitions
from include.core.errors import SourceError, TrainingError
from include.spec.training import ModelSettings
from include.training.blocks import Codes, block_codes
from include.training.labels import is_number, labels_of

Floats = NDArray[np.float64]
Matrix = NDArray[np.float32] | NDArray[np.float64]
EXACT_INTEGERS = 2**53
"""Integers up to this magnitude are exact as float64; beyond it neighbours become equal."""


class Feature(BaseModel):
    """One model input. ``categories`` is None for a number, else the strings seen in training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    categories: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Encoding:
    """The map from named columns to the matrix that models read.

    Numbers stay as they are, null becomes NaN. A category becomes its position in the stored list;
    null and strings never seen in training become NaN. The matrix is float32 if that changes no number, which halves
    its memory, and float64 otherwise: in float32, seconds of the epoch are whole minutes.
    """

    features: tuple[Feature, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the feature names in the matrix's column order."""
        return tuple(feature.name for feature in self.features)

    @property
    def categorical(self) -> tuple[int, ...]:
        """Return the positions of the categorical features."""
        return tuple(i for i, feature in enumerate(self.features) if feature.categories is not None)

    def encode(self, table: pa.Table | pa.RecordBatch) -> Matrix:
        """Encode ``table`` as a C-ordered matrix, shape (rows, features).

        Raises:
            SourceError: a column holds an integer that no floating number holds.
        """
        matrix: Matrix = np.empty((table.num_rows, len(self.features)), dtype=np.float32)
        for i, feature in enumerate(self.features):
            column = _column(table, feature)
            if matrix.dtype == np.float32 and not _fits_float32(column):
                matrix = matrix.astype(np.float64)
            matrix[:, i] = column
        return matrix


def _column(table: pa.Table | pa.RecordBatch, feature: Feature) -> NDArray[np.generic]:
    column = table.column(feature.name)
    if feature.categories is not None:
        return _codes(column, feature.categories)
    if (large := inexact_integer(column)) is not None:
        raise SourceError(inexact(feature.name, large))
    if column.null_count == 0 and (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        # no cast: filling the matrix converts
        plain: NDArray[np.generic] = column.to_numpy(zero_copy_only=False)
        return plain
    return _floats(column.cast(pa.float64()))


def inexact_integer(column: pa.Array | pa.ChunkedArray) -> int | None:
    """Return an integer of ``column`` that float64 does not hold, if it has one."""
    if not pa.types.is_integer(column.type) or column.type.bit_width < 64:
        return None
    extremes = pc.min_max(column).as_py()
    return next((one for one in extremes.values() if one is not None and abs(one) > EXACT_INTEGERS), None)


def inexact(name: str, value: int) -> str:
    """Return the message about the integer ``value`` of the column ``name``."""
    return (
        f"column {name} holds {value}: models read floating numbers, in which integers beyond 2^53 are not exact; if it"
        " is an identifier, list it under keys, ignore or categorical, else subtract a constant or divide it in the SQL"
    )


def _fits_float32(column: NDArray[np.generic]) -> bool:
    """Tell whether float32 holds each number of ``column`` exactly."""
    if column.dtype in (np.float32, np.float16) or column.dtype.itemsize < 4:
        return True
    wide = column.astype(np.float64, copy=False)
    with np.errstate(over="ignore"):
        narrow = wide.astype(np.float32)
    return bool(np.array_equal(narrow, wide, equal_nan=True))


def _codes(column: pa.Array | pa.ChunkedArray, categories: tuple[str, ...]) -> NDArray[np.generic]:
    known = pa.array(categories, pa.string())
    if not isinstance(column, pa.DictionaryArray):
        return _floats(pc.index_in(column.cast(pa.string()), value_set=known, skip_nulls=True).cast(pa.float64()))
    # each distinct string is looked up once; the last code stands for null
    codes = _floats(
        pc.index_in(column.dictionary.cast(pa.string()), value_set=known, skip_nulls=True).cast(pa.float64())
    )
    positions = pc.fill_null(column.indices.cast(pa.int64()), len(codes)).to_numpy(zero_copy_only=False)
    found: NDArray[np.generic] = np.append(codes.astype(np.float32), np.float32("nan"))[positions]
    return found


def _floats(column: pa.Array | pa.ChunkedArray) -> NDArray[np.float64]:
    values: NDArray[np.float64] = pc.fill_null(column, float("nan")).to_numpy(zero_copy_only=False)
    return values


class Rows(Protocol):
    """The part of a window that a fit needs: encoded rows ``x`` (rows, features), labels ``y`` (rows,)."""

    @property
    def x(self) -> Matrix:
        """Return the encoded rows."""

    @property
    def y(self) -> Floats:
        """Return the labels."""

    @property
    def encoding(self) -> Encoding:
        """Return the meaning of the columns of ``x``."""


@dataclass(frozen=True)
class EncodedRows:
    """A window that is encoded; ``blocks`` numbers the block of each row, which is resampled whole."""

    encoding: Encoding
    x: Matrix
    y: Floats
    blocks: Codes


@dataclass(frozen=True)
class Window:
    """Consecutive partitions of a training set.

    Attributes:
        name: ``train``, ``valid`` or ``test``.
        table: every column of the window's rows.
        y: labels as numbers, shape (rows,); a class is its position in ``classes``.
        keys: partition keys that occur, ascending.
        codes: each row's position in ``keys``.
        classes: the classes of the train window, in order; none where the label has no classes.
    """

    name: str
    table: pa.Table
    encoding: Encoding
    y: Floats
    keys: tuple[str, ...]
    codes: NDArray[np.int64]
    classes: tuple[str, ...] = ()

    @cached_property
    def x(self) -> Matrix:
        """Encode the rows on first use: a worker never needs those of the test window."""
        return self.encoding.encode(self.table)

    @cached_property
    def blocks(self) -> Codes:
        """Number the block of each row, which is resampled whole."""
        return block_codes(self.keys)[self.codes]

    @property
    def span(self) -> dict[str, str | int]:
        """Return first and last partition, number of partitions and of rows, for the record."""
        return {
            "first": self.keys[0],
            "last": self.keys[-1],
            "days": len(self.keys),  # the name in manifests since their first format
            "rows": self.table.num_rows,
        }


@dataclass(frozen=True)
class Windows:
    """A training set cut by time; the encoding knows the train window only."""

    train: Window
    valid: Window
    test: Window

    @property
    def encoding(self) -> Encoding:
        """Return the encoding, learnt from the train window."""
        return self.train.encoding

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the classes of the train window; none where the label has no classes."""
        return self.train.classes


def split(table: pa.Table, settings: ModelSettings) -> Windows:
    """Cut ``table`` into train, valid and test by time.

    The last ``test_periods`` periods up to the newest row's are test, the ``valid_periods`` before them valid, all
    earlier ones train.

    Raises:
        TrainingError: a column is missing or of a wrong type, a label is null or not finite, a window is empty, a
            label of classes has one class only in a window, or one that the train window lacks; names the window.
    """
    features = feature_columns(table, settings)
    keys = _keys(table, settings)
    last = pc.max(keys).as_py()
    test_from = partitions.shift(last, 1 - settings.test_periods)
    valid_from = partitions.shift(test_from, -settings.valid_periods)
    parts = {
        "train": table.filter(pc.less(keys, valid_from)),
        "valid": table.filter(pc.and_(pc.greater_equal(keys, valid_from), pc.less(keys, test_from))),
        "test": table.filter(pc.greater_equal(keys, test_from)),
    }
    for name, part in parts.items():
        if not part.num_rows:
            raise TrainingError(
                f"{name} window is empty: rows span {pc.min(keys)}..{last}, valid begins "
                f"{valid_from}, test {test_from}; freeze more periods or lower valid_periods and test_periods"
            )
    encoding = _learn_encoding(parts["train"], features, settings)
    classes = labels_of(settings.task).classes(parts["train"].column(settings.label))
    windows = {name: _window(name, part, encoding, classes, settings) for name, part in parts.items()}
    return Windows(windows["train"], windows["valid"], windows["test"])


def feature_columns(table: pa.Table, settings: ModelSettings) -> list[str]:
    """Return the columns of a training set that a model learns from.

    Raises:
        TrainingError: the spec names a column that is not there; a feature is neither a number nor categorical, or
            has integers that no float holds; the label is of a type that the task cannot learn; there is no feature.
    """
    needed = [settings.period_column, settings.label, *settings.keys, *settings.categorical, *settings.slices]
    needed += [column for baseline in settings.baselines for column in getattr(baseline, "by", [])]
    missing = sorted(set(needed) - set(table.column_names))
    if missing:
        raise TrainingError(f"training set lacks columns {', '.join(missing)} that the spec names")
    apart = {settings.period_column, settings.label, *settings.keys, *settings.ignore} - set(settings.categorical)
    features = [name for name in table.column_names if name not in apart]
    wrong = [name for name in features if not _usable(table.schema.field(name).type, name, settings)]
    if wrong:
        listed = ", ".join(f"{name} ({table.schema.field(name).type})" for name in wrong)
        raise TrainingError(f"columns are not numbers: {listed}; list them under categorical, keys or ignore")
    labels_of(settings.task).refuse_type(table.schema.field(settings.label).type, settings.label)
    numbers = [name for name in (*features, settings.label) if name not in settings.categorical]
    for name in numbers:
        if (large := inexact_integer(table.column(name))) is not None:
            raise TrainingError(inexact(name, large))
    if not features:
        raise TrainingError("training set has no feature column; check keys, ignore and categorical")
    return features


def _usable(kind: pa.DataType, name: str, settings: ModelSettings) -> bool:
    if name in settings.categorical:
        return not (pa.types.is_floating(kind) or pa.types.is_nested(kind))
    return is_number(kind)


def _keys(table: pa.Table, settings: ModelSettings) -> pa.ChunkedArray:
    keys = table.column(settings.period_column).cast(pa.string())
    if not table.num_rows:
        raise TrainingError("training set has no rows; freeze a wider range")
    if keys.null_count:
        raise TrainingError(f"training set has {keys.null_count} rows without {settings.period_column}")
    return keys


def _learn_encoding(train: pa.Table, features: Sequence[str], settings: ModelSettings) -> Encoding:
    def categories(name: str) -> tuple[str, ...] | None:
        if name not in settings.categorical:
            return None
        seen = pc.unique(train.column(name).cast(pa.string()))
        return tuple(sorted(value for value in seen.to_pylist() if value is not None))

    return Encoding(tuple(Feature(name=name, categories=categories(name)) for name in features))


def _window(name: str, part: pa.Table, encoding: Encoding, classes: tuple[str, ...], settings: ModelSettings) -> Window:
    y = labels_of(settings.task).numbers(part.column(settings.label), classes, settings.label, name)
    names, codes = np.unique(part.column(settings.period_column).cast(pa.string()).to_numpy(), return_inverse=True)
    return Window(name, part, encoding, y, tuple(str(key) for key in names), codes.astype(np.int64), classes)
