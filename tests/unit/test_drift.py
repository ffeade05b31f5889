"""The drift decision agrees with Evidently and sees what was planted."""

from __future__ import annotations

import os

os.environ.setdefault("DO_NOT_TRACK", "1")

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import wasserstein_distance

from include.core.errors import LifecycleError
from include.monitoring import drift
from include.monitoring.profile import ReferenceProfile
from include.spec.monitoring import DriftSpec

SPEC = DriftSpec()


def verdict(reference: object, current: object, *, categorical: bool = False) -> drift.ColumnDrift:
    tables = [pa.table({"x": values}) for values in (reference, current)]
    numeric, categories = ((), ("x",)) if categorical else (("x",), ())
    profile = drift.profile(tables[0], numeric, categories)
    # as the monitor meets it: read back from the model's files
    profile = ReferenceProfile.model_validate_json(profile.model_dump_json())
    return drift.decide(profile, tables[1], SPEC)[0]


def evidently_score(reference: pd.Series, current: pd.Series, kind: str) -> tuple[str, float, bool]:
    from evidently.legacy.calculations.stattests import get_stattest
    from evidently.legacy.core import ColumnType

    test = get_stattest(reference, current, ColumnType(kind), None)
    result = test(reference, current, ColumnType(kind), None)
    return test.name, result.drift_score, bool(result.drifted)


RNG = np.random.default_rng(7)
LARGE, SMALL = 6_000, 800
NUMERIC_CASES = {
    "same": (RNG.normal(size=LARGE), RNG.normal(size=900)),
    "shifted": (RNG.normal(size=LARGE), RNG.normal(0.3, size=900)),
    "wider": (RNG.normal(size=LARGE), RNG.normal(0, 2, size=900)),
    "barely": (RNG.normal(size=LARGE), RNG.normal(0.11, size=20_000)),
    "just not": (RNG.normal(size=LARGE), RNG.normal(0.07, size=20_000)),
    "one outlier": (np.append(RNG.normal(10, 5, LARGE), 1048.36), RNG.normal(13, 5, 900)),
    "outlier arrives": (RNG.normal(10, 5, LARGE), np.append(RNG.normal(10, 5, 900), 1e6)),
    "lognormal": (RNG.lognormal(0, 2, LARGE), RNG.lognormal(0.2, 2, 5_000)),
    "hours": (RNG.integers(5, 24, LARGE), RNG.integers(6, 24, 900)),
    "mostly zero": (RNG.binomial(1, 0.1, LARGE) * RNG.random(LARGE), RNG.random(900)),
    "far above": (RNG.random(LARGE), RNG.random(900) + 50),
    "far below": (RNG.random(LARGE), RNG.random(900) - 50),
    "constant stays": (np.full(LARGE, 3.0), np.full(900, 3.0)),
    "constant moves": (np.full(LARGE, 3.0), np.full(900, 3.5)),
    "two values": (RNG.integers(0, 2, LARGE), RNG.binomial(1, 0.7, 900)),
    "two values, new third": (RNG.integers(0, 2, LARGE), RNG.integers(0, 3, 900)),
    "two values turn continuous": (RNG.integers(0, 2, LARGE), RNG.random(900)),
    "small same": (RNG.normal(size=SMALL), RNG.normal(size=300)),
    "small shifted": (RNG.normal(size=SMALL), RNG.normal(0.4, size=300)),
    "small hours": (RNG.integers(5, 24, SMALL), RNG.integers(6, 24, 300)),
    "small three values": (RNG.integers(0, 3, SMALL), RNG.integers(0, 3, 300)),
    "small three values shift": (RNG.integers(0, 3, SMALL), RNG.binomial(2, 0.2, 300)),
    "small two values": (RNG.integers(0, 2, SMALL), RNG.binomial(1, 0.6, 300)),
    "small two values, new values": (RNG.integers(0, 2, SMALL), RNG.random(300)),
}


@pytest.mark.parametrize("case", NUMERIC_CASES)
def test_a_numeric_verdict_is_evidentlys(case: str) -> None:
    reference, current = NUMERIC_CASES[case]
    ours = verdict(reference.astype(float), current.astype(float))
    method, score, drifted = evidently_score(pd.Series(reference), pd.Series(current), "num")
    assert (ours.method, ours.drifted) == (method, drifted)
    assert ours.statistic == pytest.approx(score, rel=1e-3, abs=1e-3)


CATEGORY_CASES = {
    "same": (RNG.choice(list("abcd"), LARGE), RNG.choice(list("abcd"), 5_000)),
    "one is gone": (RNG.choice(list("abcd"), LARGE), RNG.choice(list("abc"), 900)),
    "one is new": (RNG.choice(list("abc"), LARGE), RNG.choice(list("abcz"), 900)),
    "many, few rows": (RNG.integers(0, 300, LARGE).astype(str), RNG.integers(0, 300, 900).astype(str)),
    "small same": (RNG.choice(list("abc"), SMALL), RNG.choice(list("abc"), 300)),
    "small, new": (RNG.choice(list("abc"), SMALL), RNG.choice(list("abcd"), 300)),
    "small, two": (RNG.choice(list("ab"), SMALL), RNG.choice(list("ab"), 300, p=[0.7, 0.3])),
    "small, one": (np.full(SMALL, "a"), np.full(300, "a")),
}


@pytest.mark.parametrize("case", CATEGORY_CASES)
def test_a_categorical_verdict_is_evidentlys(case: str) -> None:
    reference, current = CATEGORY_CASES[case]
    ours = verdict(reference, current, categorical=True)
    method, score, drifted = evidently_score(pd.Series(reference), pd.Series(current), "cat")
    assert (ours.method, ours.drifted) == (method, drifted)
    assert ours.statistic == pytest.approx(score, rel=1e-9, abs=1e-9)


numbers = st.lists(st.floats(-1e6, 1e6) | st.none(), min_size=1, max_size=60)


@settings(max_examples=150)
@given(values=numbers, copies=st.integers(1, 80))
def test_a_numeric_column_never_drifts_from_itself(values: list[float | None], copies: int) -> None:
    column = pa.array(values * copies, pa.float64())
    assert not verdict(column, column).drifted


@settings(max_examples=100)
@given(values=st.lists(st.sampled_from("abcdefg") | st.none(), min_size=1), copies=st.integers(1, 80))
def test_a_categorical_column_never_drifts_from_itself(values: list[str | None], copies: int) -> None:
    column = pa.array(values * copies, pa.string())
    assert not verdict(column, column, categorical=True).drifted


@settings(max_examples=100)
@given(
    seed=st.integers(0, 10_000),
    scale=st.floats(1e-2, 1e6),
    shift=st.floats(0.3, 1e3) | st.floats(-1e3, -0.3),
    rows=st.sampled_from([500, 3_000]),
)
def test_a_planted_shift_always_drifts(seed: int, scale: float, shift: float, rows: int) -> None:
    values = np.random.default_rng(seed).gamma(2.0, scale, rows)
    assert verdict(values, values + shift * values.std()).drifted


@settings(max_examples=100)
@given(
    reference=st.lists(st.floats(-1e3, 1e3, width=32), min_size=2, max_size=50),
    current=st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=50),
)
def test_the_distance_is_the_exact_one_up_to_the_bins(reference: list[float], current: list[float]) -> None:
    large = np.repeat(reference, 1_001)
    ours = verdict(large, np.array(current))
    if ours.method != "wasserstein":
        return
    norm = max(float(large.std()), 0.001)
    exact = wasserstein_distance(large, current) / norm
    # lists this short can put a third of the mass into one bin in which the functions cross
    assert ours.statistic == pytest.approx(exact, abs=2 * (max(reference) - min(reference)) / 500 / norm + 1e-6)


def test_rows_read_from_files_give_the_same_verdicts(tmp_path: object) -> None:
    reference, current = NUMERIC_CASES["shifted"]
    table = pa.table({"x": current, "c": pa.array(["a", "b", None] * 300).dictionary_encode()})
    ds.write_dataset(table, str(tmp_path), format="parquet", max_rows_per_group=100, max_rows_per_file=200)
    profile = drift.profile(pa.table({"x": reference, "c": ["a", "b", "b"] * 2_000}), ("x",), ("c",))
    assert drift.decide(profile, ds.dataset(str(tmp_path)), SPEC) == drift.decide(profile, table, SPEC)


def test_a_column_that_lost_all_its_values_drifts() -> None:
    empty = pa.nulls(10, pa.float64())
    assert verdict([1.0, 2.0], empty).drifted
    assert verdict(empty, [1.0, 2.0]).drifted
    assert not verdict(empty, empty).drifted


def test_the_window_drifts_by_the_share_of_its_columns_without_prediction_and_excluded_ones() -> None:
    reference = pa.table({"a": [0.0] * 9, "b": [0.0] * 9, "day": [0.0] * 9, "p": [0.5] * 9})
    current = pa.table({"a": [9.0] * 9, "b": [0.0] * 9, "day": [9.0] * 9, "p": [0.9] * 9})
    profile = drift.profile(reference, ("a", "b", "day"), (), prediction="p")
    spec = DriftSpec(exclude=("day",), drift_share=0.5)
    verdicts = drift.decide(profile, current, spec)
    assert {v.column: v.drifted for v in verdicts} == {"a": True, "b": False, "p": True}
    whole = drift.dataset_verdict(verdicts, spec, predictions=("p",))
    assert (whole.share, whole.n_drifted, whole.n_columns, whole.drifted) == (0.5, 1, 2, True)


def test_the_label_rate_is_over_the_known_labels() -> None:
    table = pa.table({"x": [1.0, 2.0, 3.0], "y": [True, False, None]})
    assert drift.profile(table, ("x",), (), label="y").label_rate == 0.5


@pytest.mark.parametrize(
    ("current", "message"),
    [
        (pa.table({"y": [1.0]}), "'x' is missing"),
        (pa.table({"x": ["late"]}), "'x' is string, not a number"),
        (pa.table({"x": pa.array([], pa.float64())}), "no rows"),
    ],
)
def test_a_window_that_cannot_be_judged_says_why(current: pa.Table, message: str) -> None:
    profile = drift.profile(pa.table({"x": [1.0, 2.0]}), ("x",), ())
    with pytest.raises(LifecycleError, match=message):
        drift.decide(profile, current, SPEC)


def test_an_excluded_column_must_exist() -> None:
    profile = drift.profile(pa.table({"x": [1.0]}), ("x",), ())
    with pytest.raises(LifecycleError, match="exclude names month"):
        drift.decide(profile, pa.table({"x": [1.0]}), DriftSpec(exclude=("month",)))


@pytest.mark.parametrize("rows", [6, 5_000])
def test_large_numbers_drift(rows: int) -> None:
    """C09: between 2^53 and its neighbour there is no float to place a value at."""
    reference = drift.profile(pa.table({"x": np.full(rows, 2.0**53)}), ("x",), ())
    shifted = pa.table({"x": 2.0**53 + 2 * np.arange(1, 13)})
    (found,) = drift.decide(reference, shifted, DriftSpec())
    assert found.drifted
    (same,) = drift.decide(reference, pa.table({"x": np.full(12, 2.0**53)}), DriftSpec())
    assert not same.drifted


def test_the_exact_test_knows_only_the_order_of_values() -> None:
    """C09: moving all values by the same large number changes no p-value."""
    rng = np.random.default_rng(1)
    old, new = rng.integers(0, 40, 300).astype(float), rng.integers(5, 45, 200).astype(float)
    found = []
    for begin in (0.0, 2.0**52):
        reference = drift.profile(pa.table({"x": begin + old}), ("x",), ())
        found += drift.decide(reference, pa.table({"x": begin + new}), DriftSpec())
    assert found[0] == found[1]
    assert found[0].statistic == pytest.approx(stats.ks_2samp(old, new).pvalue)
