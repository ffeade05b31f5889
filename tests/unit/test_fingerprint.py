"""A fingerprint depends on the content of a table, not on how Arrow stores it."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.lake import fingerprint

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TYPES: dict[pa.DataType, st.SearchStrategy] = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    # arrow holds 0.0 and -0.0 for equal, their bytes are not
    pa.float64(): st.floats(allow_nan=False).map(lambda value: value + 0.0),
    pa.float32(): st.floats(allow_nan=False, width=32).map(lambda value: value + 0.0),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(max_size=5),
    pa.date32(): st.dates(date(1900, 1, 1), date(2100, 1, 1)),
    pa.timestamp("us", "UTC"): st.integers(0, 2**50).map(lambda us: EPOCH + timedelta(microseconds=us)),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    rows = draw(st.integers(0, 8))
    kinds = draw(st.lists(st.sampled_from(list(TYPES)), min_size=1, max_size=4))
    columns = {
        f"c{n}": pa.array(draw(st.lists(st.none() | TYPES[kind], min_size=rows, max_size=rows)), kind)
        for n, kind in enumerate(kinds)
    }
    return pa.table(columns)


@given(tables(), st.lists(st.integers(0, 8), max_size=3))
def test_chunks_do_not_count(table: pa.Table, cuts: list[int]) -> None:
    bounds = [0, *sorted(min(cut, table.num_rows) for cut in cuts), table.num_rows]
    pieces = [table.slice(start, end - start) for start, end in itertools.pairwise(bounds)]
    assert fingerprint.of_table(pa.concat_tables(pieces)) == fingerprint.of_table(table)


@given(tables(), st.integers(0, 3), st.integers(0, 3))
def test_slicing_does_not_count(table: pa.Table, before: int, after: int) -> None:
    padding = table.take(pa.array([0] * (before if table.num_rows else 0), pa.int64()))
    tail = table.take(pa.array([0] * (after if table.num_rows else 0), pa.int64()))
    longer = pa.concat_tables([padding, table, tail]).combine_chunks()
    assert fingerprint.of_table(longer.slice(padding.num_rows, table.num_rows)) == fingerprint.of_table(table)


@given(tables(), st.lists(st.integers(0, 8), max_size=3))
def test_parts_are_fingerprinted_as_if_alone(table: pa.Table, cuts: list[int]) -> None:
    bounds = [0, *sorted(min(cut, table.num_rows) for cut in cuts), table.num_rows]
    pieces = [table.slice(start, end - start) for start, end in itertools.pairwise(bounds)]
    alone = [fingerprint.of_table(piece) for piece in pieces]
    assert fingerprint.of_parts(table, [piece.num_rows for piece in pieces]) == alone


@given(tables())
def test_dictionaries_and_large_text_do_not_count(table: pa.Table) -> None:
    text = [n for n, field in enumerate(table.schema) if pa.types.is_string(field.type)]
    encoded, large = table, table
    for n in text:
        encoded = encoded.set_column(n, f"c{n}", table[n].dictionary_encode())
        large = large.set_column(n, f"c{n}", table[n].cast(pa.large_string()))
    assert fingerprint.of_table(encoded) == fingerprint.of_table(large) == fingerprint.of_table(table)


@given(tables(), st.data())
def test_any_other_value_counts(table: pa.Table, data: st.DataObject) -> None:
    if table.num_rows == 0:
        return
    column, row = data.draw(st.integers(0, table.num_columns - 1)), data.draw(st.integers(0, table.num_rows - 1))
    kind, values = table.schema.field(column).type, table[column].to_pylist()
    other = data.draw((st.none() | TYPES[kind]).filter(lambda value: value != values[row]))
    changed = table.set_column(column, f"c{column}", pa.array([*values[:row], other, *values[row + 1 :]], kind))
    assert fingerprint.of_table(changed) != fingerprint.of_table(table)


@given(tables())
def test_order_counts(table: pa.Table) -> None:
    backwards = table.take(pa.array(range(table.num_rows), pa.int64())[::-1])
    assert (fingerprint.of_table(backwards) == fingerprint.of_table(table)) == backwards.equals(table)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array([None], pa.string()), pa.array([""], pa.string())),
        (pa.array([None], pa.int64()), pa.array([0], pa.int64())),
        (pa.array([None], pa.bool_()), pa.array([False], pa.bool_())),
        (pa.array([1], pa.int64()), pa.array([1], pa.int32())),
        (pa.array(["ab", "c"]), pa.array(["a", "bc"])),
        (pa.array(["", None]), pa.array([None, ""])),
    ],
)
def test_what_is_not_the_same(one: pa.Array, other: pa.Array) -> None:
    assert fingerprint.of_table(pa.table({"c": one})) != fingerprint.of_table(pa.table({"c": other}))


def test_bytes_under_a_null_do_not_count() -> None:
    validity = pa.array([True, False]).buffers()[1]
    dirty = pa.Array.from_buffers(pa.int64(), 2, [validity, pa.array([1, 99], pa.int64()).buffers()[1]], null_count=1)
    clean = pa.array([1, None], pa.int64())
    assert dirty.equals(clean)
    assert fingerprint.of_table(pa.table({"c": dirty})) == fingerprint.of_table(pa.table({"c": clean}))


def test_names_and_column_order_count() -> None:
    table = pa.table({"a": [1], "b": [2]})
    assert fingerprint.of_table(table.select(["b", "a"])) != fingerprint.of_table(table)
    assert fingerprint.of_table(table.rename_columns(["a", "c"])) != fingerprint.of_table(table)


def test_nested_columns_are_refused_by_name() -> None:
    with pytest.raises(TypeError, match="column 'tags' is list"):
        fingerprint.of_table(pa.table({"tags": [["a"]]}))


def test_a_known_fingerprint_stays() -> None:
    """Published records hold these digits: with other digits every partition would be published again."""
    table = pa.table({"n": pa.array([1, None], pa.int64()), "text": ["é", ""], "flag": [True, None]})
    assert fingerprint.of_table(table)[:16] == "f5a72ad60c9c41e2"
