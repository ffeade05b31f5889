"""The probe finds columns that know the answer and leaves honest ones alone."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from include.training.leakage import probe
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
