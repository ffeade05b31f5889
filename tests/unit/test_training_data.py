"""Split by day, encoding, and what data cannot be learnt from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from include.core.errors import SourceError, TrainingError
from include.training.data import Encoding, Feature, split
from include.training.training_set import TrainingSet, fingerprint, open_training_set
from tests.unit.training_rows import REGRESSION, model_settings, training_rows


def test_windows_are_the_last_days_whatever_the_row_order() -> None:
    table = training_rows(days=30, rows_a_day=20)
    shuffled = table.take(np.random.default_rng(1).permutation(table.num_rows))
    windows = split(shuffled, model_settings(test_periods=5, valid_periods=7))
    assert windows.test.span == {"first": "2013-02-26", "last": "2013-03-02", "days": 5, "rows": 100}
    assert windows.valid.span == {"first": "2013-02-19", "last": "2013-02-25", "days": 7, "rows": 140}
    assert windows.train.span == {"first": "2013-02-01", "last": "2013-02-18", "days": 18, "rows": 360}


def test_features_are_categories_and_numbers_that_no_role_claims() -> None:
    assert split(training_rows(), model_settings()).encoding.names == ("carrier", "rate", "noise", "gap")


def test_unseen_and_null_categories_are_missing() -> None:
    encoding = Encoding((Feature(name="carrier", categories=("AA", "UA")), Feature(name="seats")))
    rows = pa.table({"seats": [1, None, 3, 4], "carrier": ["UA", "AA", None, "ZZ"]})
    np.testing.assert_array_equal(
        encoding.encode(rows), np.array([[1, 1], [0, np.nan], [np.nan, 3], [np.nan, 4]], np.float32)
    )


@pytest.mark.parametrize("values", [["UA", "AA", None, "ZZ", "UA"], [None], ["ZZ"], []])
def test_categories_kept_as_a_dictionary_encode_like_text(values: list[str | None]) -> None:
    """Parquet hands them over so, and their strings need not be written out."""
    encoding = Encoding((Feature(name="carrier", categories=("AA", "UA")),))
    text = pa.table({"carrier": pa.array(values, pa.string())})
    wanted = encoding.encode(text)
    for rows in (text.slice(1), text):
        kept = pa.table({"carrier": rows["carrier"].dictionary_encode()})
        found = [encoding.encode(kept)] + [encoding.encode(batch) for batch in kept.to_batches()]
        for matrix in found:
            np.testing.assert_array_equal(matrix, wanted[len(wanted) - rows.num_rows :])


def test_numbers_of_every_width_stay_as_they_are() -> None:
    """C10: 2^24 + 1 is the first integer that float32 does not hold."""
    large = 2**24 + 1
    encoding = Encoding(tuple(Feature(name=name) for name in ("int", "float", "null")))
    rows = pa.table({"int": [large, 3], "float": pa.array([0.1, 0.2], pa.float32()), "null": pa.array([None, large])})
    expected = np.array([[large, np.float32(0.1), np.nan], [3, np.float32(0.2), large]], np.float64)
    found = encoding.encode(rows)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float64


@pytest.mark.parametrize(
    ("column", "dtype"),
    [
        (pa.array([0.5, None, float("inf"), float("nan")]), np.float32),
        (pa.array([1, 2**24, None], pa.int64()), np.float32),
        (pa.array([0.1], pa.float32()), np.float32),
        (pa.array([True, None]), np.float32),
        (pa.array([0.1]), np.float64),
        (pa.array([1e300]), np.float64),
        (pa.array([1_700_000_001]), np.float64),
        (pa.array([2**53 - 1, -(2**53) + 1]), np.float64),
        (pa.array([], pa.float64()), np.float32),
    ],
)
def test_the_matrix_is_narrow_only_where_no_number_changes(column: pa.Array, dtype: type) -> None:
    """C10: halving the memory must not cost a value."""
    encoding = Encoding((Feature(name="flag"), Feature(name="number"), Feature(name="same")))
    flag = pa.array([1.0] * len(column))
    found = encoding.encode(pa.table({"flag": flag, "number": column, "same": flag}))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found[:, 1], column.cast(pa.float64()).to_numpy(zero_copy_only=False))
    np.testing.assert_array_equal(found[:, [0, 2]], 1.0)


@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1, 2**63 - 1])
def test_an_integer_beyond_2_53_is_named_before_the_search(value: int) -> None:
    """C33: column, value and remedy; scoring refuses it as well."""
    table = training_rows()
    wide = table.set_column(table.column_names.index("noise"), "noise", pa.array([value] + [None] * (len(table) - 1)))
    with pytest.raises(
        TrainingError, match=rf"column noise holds {value}: .*list it under keys, ignore or categorical"
    ):
        split(wide, model_settings())
    with pytest.raises(SourceError, match=f"column noise holds {value}"):
        Encoding((Feature(name="noise"),)).encode(wide)
    assert split(wide, model_settings(ignore=["delay", "noise"])).train.x.shape[1] == 3
    label = model_settings(**(REGRESSION | {"label": "noise", "ignore": ["disrupted", "delay"]}))
    with pytest.raises(TrainingError, match=f"column noise holds {value}"):
        split(wide, label)


def test_a_label_that_float32_would_cut_is_named() -> None:
    """C10: LightGBM keeps labels as float32, in which seconds of the epoch are two minutes apart."""
    table = training_rows()
    at = table.column_names.index("delay")
    late = table.set_column(at, "delay", pc.add(table["delay"], 1_700_000_000.0))
    with pytest.raises(TrainingError, match=r"train window: label delay is .*predict its difference from a constant"):
        split(late, model_settings(**REGRESSION))
    same = table.set_column(at, "delay", pa.array([0.1] * len(table)))
    assert split(same, model_settings(**REGRESSION)).train.y[0] == 0.1


@pytest.mark.parametrize("kind", [pa.string(), pa.dictionary(pa.int32(), pa.string())])
def test_a_text_label_is_named(kind: pa.DataType) -> None:
    """C33: a label of ``yes`` and ``no``."""
    table = training_rows()
    said = pa.array(["yes" if one else "no" for one in table["disrupted"].to_pylist()]).cast(kind)
    text = table.set_column(table.column_names.index("disrupted"), "disrupted", said)
    with pytest.raises(TrainingError, match=r"label disrupted is .*string.*, not a number; .*labels\.sql.*= 'yes'"):
        split(text, model_settings())


def test_categories_come_from_the_train_window_only() -> None:
    table = training_rows()
    late = pc.if_else(pc.greater(table["ds"], "2013-03-25"), "ZZ", table["carrier"])
    at = table.column_names.index("carrier")
    windows = split(table.set_column(at, "carrier", late), model_settings())
    assert windows.encoding.features[0].categories == ("AA", "B6", "UA")
    assert np.isnan(windows.test.x[:, 0]).any()


def _with(table: pa.Table, name: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)


@pytest.mark.parametrize("window", ["train", "valid", "test"])
def test_single_class_window_is_named(window: str) -> None:
    table = training_rows()
    bounds = {
        "train": ("2013-02-01", "2013-03-12"),
        "valid": ("2013-03-13", "2013-03-22"),
        "test": ("2013-03-23", "2013-04-02"),
    }
    first, last = bounds[window]
    inside = pc.and_(pc.greater_equal(table["ds"], first), pc.less_equal(table["ds"], last))
    flat = _with(table, "disrupted", pc.if_else(inside, 0, table["disrupted"]))
    with pytest.raises(TrainingError, match=rf"{window} window: label disrupted is 0 in all"):
        split(flat, model_settings())


def test_null_label_is_named_with_its_window() -> None:
    table = training_rows()
    holes = pc.if_else(pc.equal(table["ds"], "2013-04-01"), None, table["disrupted"])
    with pytest.raises(TrainingError, match="test window: label disrupted is null or not finite in 40 rows"):
        split(_with(table, "disrupted", holes), model_settings())


def test_label_other_than_0_and_1_is_refused() -> None:
    table = _with(training_rows(), "disrupted", training_rows()["delay"])
    with pytest.raises(TrainingError, match="a binary label is 0 or 1"):
        split(table, model_settings())


def test_window_without_rows_is_named() -> None:
    with pytest.raises(TrainingError, match="train window is empty"):
        split(training_rows(days=15), model_settings())
    with pytest.raises(TrainingError, match="training set has no rows"):
        split(training_rows().slice(0, 0), model_settings())


def test_missing_and_mistyped_columns_are_named() -> None:
    with pytest.raises(TrainingError, match="lacks columns tail, terminal"):
        split(training_rows(), model_settings(keys=["tail"], slices=["terminal"]))
    with pytest.raises(TrainingError, match=r"columns are not numbers: carrier \(string\)"):
        split(training_rows(), model_settings(categorical=[]))


def test_fingerprint_is_of_the_contents() -> None:
    table = training_rows(days=5)
    chunked = pa.concat_tables([table.slice(0, 7), table.slice(7)])
    assert fingerprint(chunked) == fingerprint(table)
    assert TrainingSet.of(table.take(list(range(table.num_rows))[::-1])) == TrainingSet.of(table)
    changed = pc.if_else(pc.equal(table["flight"], 3), 9.0, table["rate"])
    assert fingerprint(_with(table, "rate", changed)) != fingerprint(table)
    nulled = pc.if_else(pc.equal(table["flight"], 3), None, pc.fill_null(table["gap"], 0.0))
    assert fingerprint(_with(table, "gap", nulled)) != fingerprint(_with(table, "gap", pc.fill_null(table["gap"], 0.0)))


def test_parquet_and_delta_hold_the_same_training_set(tmp_path: Path) -> None:
    table = training_rows(days=5)
    pq.write_table(table, tmp_path / "rows.parquet")
    write_deltalake(tmp_path / "delta", table, partition_by=["ds"])
    write_deltalake(tmp_path / "delta", table.slice(0, 10), mode="overwrite")
    frozen = TrainingSet.of(table).fingerprint
    assert open_training_set(str(tmp_path / "rows.parquet")).fingerprint == frozen
    assert open_training_set(str(tmp_path / "delta"), version=0).fingerprint == frozen
    with pytest.raises(TrainingError, match="its rows are not the frozen ones"):
        open_training_set(str(tmp_path / "delta"), expected=frozen)
    with pytest.raises(TrainingError, match="does not exist"):
        open_training_set(str(tmp_path / "nothing"))
