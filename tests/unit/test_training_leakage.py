"""The probe finds columns that know the answer and leaves honest ones alone."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from include.training.judging.leakage import probe
from tests.unit.training_rows import REGRESSION, model_settings, training_rows


def _flagged(table: pa.Table, **values: object) -> set[tuple[str, str]]:
    return {(one.feature, one.by) for one in probe(table, model_settings(**values)) if one.flagged}


def test_honest_features_pass() -> None:
    assert _flagged(training_rows()) == set()
    assert len(probe(training_rows(), model_settings())) == 5


def test_value_that_is_the_label_is_found() -> None:
    table = training_rows()
    noisy = table["disrupted"].to_numpy() * 5 + np.random.default_rng(0).normal(size=table.num_rows)
    assert _flagged(table.append_column("arrival", pa.array(noisy))) == {("arrival", "value")}


def test_rare_null_that_settles_the_label_is_found() -> None:
    # as with tail numbers: few rows lack one, all of them are cancelled flights
    table = training_rows()
    label = table["disrupted"].to_numpy()
    gone = np.flatnonzero(label)[:80]
    tail = np.random.default_rng(0).normal(size=table.num_rows)
    tail[gone] = np.nan
    found = probe(table.append_column("tail", pa.array(tail, from_pandas=True)), model_settings())
    assert [(one.feature, one.by, one.rows, one.rate) for one in found if one.flagged] == [("tail", "null", 80, 1.0)]
    assert found[0].auc < 0.6


def _base_of_a_fifth() -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """Rows of which 0.2 are positive, their labels, and the day of each in order."""
    table = training_rows(days=60, rows_a_day=100)
    label = (np.arange(table.num_rows) % 5 == 0).astype(np.int64)
    table = table.set_column(table.column_names.index("disrupted"), "disrupted", pa.array(label))
    return table, label, np.repeat(np.arange(60), 100)


def _only(table: pa.Table, rows: np.ndarray, known: bool = False) -> set[tuple[str, str]]:
    """Return the findings about a random column that is null (or known) in ``rows`` alone."""
    values = np.random.default_rng(0).normal(size=table.num_rows)
    values[np.setdiff1d(np.arange(len(values)), rows) if known else rows] = np.nan
    return {one for one in _flagged(table.append_column("odd", pa.array(values, from_pandas=True))) if one[0] == "odd"}


def test_forty_nulls_that_are_all_positive_are_found_also_outside_the_sample() -> None:
    table, label, _ = _base_of_a_fifth()
    forty = np.flatnonzero(label)[::25][:40]
    assert _only(table, forty) == {("odd", "null")}
    assert _only(table, forty, known=True) == {("odd", "known")}
    # one in forty may be otherwise, as in tables that people correct
    assert _only(table, np.append(forty[1:], 1)) == {("odd", "null")}
    values = np.ones(table.num_rows)
    values[forty] = np.nan
    leaky = table.append_column("odd", pa.array(values, from_pandas=True))
    found = {one.feature: one for one in probe(leaky, model_settings(), sample=600) if one.by == "null"}
    assert (found["odd"].rows, found["odd"].rate, found["odd"].flagged) == (40, 1.0, True)


def test_what_is_missing_on_one_bad_day_is_honest() -> None:
    table, label, days = _base_of_a_fifth()
    # a storm: the weather station fell silent, and so did the airport
    label[days == 30] = 1
    table = table.set_column(table.column_names.index("disrupted"), "disrupted", pa.array(label))
    assert _only(table, np.flatnonzero(days == 30)) == set()


def test_nulls_of_many_days_with_an_unusual_rate_are_honest() -> None:
    table, label, _ = _base_of_a_fifth()
    # rows with two in three positive, and rows that are rarely so: both may well be known beforehand
    worse = np.concatenate([np.flatnonzero(label)[::3], np.flatnonzero(label == 0)[::24]])
    better = np.concatenate([np.flatnonzero(label)[::20], np.flatnonzero(label == 0)[::8]])
    assert _only(table, worse) == _only(table, better) == set()


def test_a_few_nulls_say_nothing() -> None:
    table, label, _ = _base_of_a_fifth()
    assert _only(table, np.flatnonzero(label)[::50][:24]) == set()
    # thirty negatives happen by chance where four in five rows are negative
    assert _only(table, np.flatnonzero(label == 0)[::100][:30]) == set()


def test_high_cardinality_category_is_not_mistaken_for_a_leak() -> None:
    table = training_rows()
    names = np.random.default_rng(0).integers(0, 800, table.num_rows).astype(str)
    assert _flagged(table.append_column("tail", pa.array(names)), categorical=["carrier", "tail"]) == set()


def test_regression_label_is_probed() -> None:
    table = training_rows()
    table = table.append_column("copy", pa.array(table["delay"].to_numpy() * 2))
    assert ("copy", "value") in _flagged(table, **REGRESSION)


def test_sample_is_seeded() -> None:
    table, settings = training_rows(), model_settings()
    assert probe(table, settings, sample=500) == probe(table, settings, sample=500)
