"""Every family fits each kind of label that it claims, reports, and comes back from disk unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from include.core.errors import TrainingError
from include.spec.families import FAMILIES, Choice, Fixed, Searched
from include.spec.training import ConstantBaseline, HistoryBaseline, ModelSettings, SeasonalBaseline
from include.training.data import Windows, split
from include.training.families import family
from include.training.families.base import STEPS, Fitting, Pruned
from include.training.judging.baselines import predict_baseline
from include.training.judging.metrics import metric
from tests.unit.training_rows import MULTICLASS, REGRESSION, model_settings, rows_with_classes, training_rows

VALUES: dict[str, dict[str, Any]] = {"binary": {}, "regression": REGRESSION, "multiclass": MULTICLASS}
CASES = [(name, task) for name, info in FAMILIES.items() for task in sorted(info.tasks)]


def few(name: str) -> dict[str, Any]:
    """Parameters that suit few rows."""
    if name == "lightgbm":
        return {"rounds": 30, "min_data_in_leaf": 10}
    network = {"epochs": 30.0, "batch": 128, "patience": 10, "learning_rate": 0.005, "width": 32}
    return network if name.startswith("torch_") else {}


def _settings(name: str, task: str) -> ModelSettings:
    return model_settings(**(VALUES[task] | {"families": {name: few(name)}}))


def windows_of(task: str, settings: ModelSettings) -> Windows:
    return split(rows_with_classes() if task == "multiclass" else training_rows(), settings)


def point(settings: ModelSettings, name: str) -> dict[str, Any]:
    """Return the parameters that a study tries first, fixed ones included."""

    def value(dimension: Searched | Choice | Fixed) -> Any:
        if isinstance(dimension, Searched):
            return int(dimension.start) if dimension.integer else dimension.start
        return dimension.value if isinstance(dimension, Fixed) else dimension.options[0]

    return {parameter: value(dimension) for parameter, dimension in settings.space(name).items()}


@pytest.mark.parametrize(("name", "task"), CASES)
def test_fits_better_than_the_mean_and_reloads_exactly(name: str, task: str, tmp_path: Path) -> None:
    settings = _settings(name, task)
    windows = windows_of(task, settings)
    steps: list[int] = []
    fitting = Fitting(
        task,
        metric(settings.metric),
        on_step=lambda step, value: steps.append(step),
        classes=len(windows.classes),
    )
    kind = family(name)
    prepared = kind.prepare(windows.train, windows.valid, settings.space(name), fitting)
    model = kind.fit(point(settings, name), prepared, fitting)
    predicted = model.predict(windows.test.x)
    constant = predict_baseline(ConstantBaseline(), windows, windows.test)
    assert predicted.shape == constant.shape
    assert predicted.dtype == np.float64
    assert model.predict(windows.test.x[:0]).shape == predicted[:0].shape
    if task == "multiclass":
        np.testing.assert_allclose(predicted.sum(axis=1), 1, atol=1e-12)
    assert fitting.metric.value(windows.test.y, predicted) < 0.95 * fitting.metric.value(windows.test.y, constant)
    assert steps
    assert steps == sorted(set(steps))
    assert steps[-1] <= STEPS
    # the second feature is the one that matters, "noise" (third) is not
    assert model.importance()[1] > model.importance()[2]
    model.save(tmp_path)
    again = kind.load(tmp_path, windows.encoding)
    np.testing.assert_array_equal(again.predict(windows.test.x), predicted)
    repeated = kind.fit(point(settings, name), prepared, fitting)
    np.testing.assert_array_equal(repeated.predict(windows.test.x), predicted)


@pytest.mark.parametrize("name", [name for name, task in CASES if task == "binary"])
def test_large_numbers_keep_their_digits(name: str, tmp_path: Path) -> None:
    """C10: float32 holds seconds of the epoch only to two minutes; AUC was 0.846."""
    rows = training_rows()
    second = 1_700_000_000 + np.random.default_rng(0).uniform(0, 100, rows.num_rows)
    table = pa.table({
        "ds": rows["ds"], "flight": rows["flight"], "second": second,
        "disrupted": (second >= 1_700_000_050).astype(np.int64),
    })  # fmt: skip
    settings = model_settings(families={name: few(name)}, categorical=[], ignore=[])
    windows = split(table, settings)
    fitting = Fitting("binary", metric("auc"))
    kind = family(name)
    model = kind.fit(
        point(settings, name), kind.prepare(windows.train, windows.valid, settings.space(name), fitting), fitting
    )
    assert round(metric("auc").value(windows.test.y, model.predict(windows.test.x)), 3) == 1.0
    model.save(tmp_path)
    again = kind.load(tmp_path, windows.encoding)
    np.testing.assert_array_equal(again.predict(windows.test.x), model.predict(windows.test.x))


@pytest.mark.parametrize("name", [name for name, task in CASES if task == "binary"])
def test_one_huge_number_does_not_hide_a_column(name: str) -> None:
    """C10: 1e300 is an outlier as infinity is, although float64 holds it."""
    table = training_rows()
    rate = table["rate"].to_numpy().copy()
    rate[::97] = 1e300
    settings = model_settings(families={name: few(name)})
    windows = split(table.set_column(table.column_names.index("rate"), "rate", pa.array(rate)), settings)
    fitting = Fitting("binary", metric("auc"))
    kind = family(name)
    model = kind.fit(
        point(settings, name), kind.prepare(windows.train, windows.valid, settings.space(name), fitting), fitting
    )
    assert metric("auc").value(windows.test.y, model.predict(windows.test.x)) > 0.65


@pytest.mark.parametrize(("name", "task"), CASES)
def test_pruning_ends_the_fit(name: str, task: str) -> None:
    settings = _settings(name, task)
    windows = windows_of(task, settings)

    def stop(step: int, value: float) -> None:
        raise Pruned

    fitting = Fitting(task, metric(settings.metric), on_step=stop, classes=len(windows.classes))
    prepared = family(name).prepare(windows.train, windows.valid, settings.space(name), fitting)
    with pytest.raises(Pruned):
        family(name).fit(point(settings, name), prepared, fitting)


def test_searching_bins_is_refused() -> None:
    settings = model_settings(families={"lightgbm": {"max_bin": [31, 63]}})
    windows = split(training_rows(), settings)
    with pytest.raises(TrainingError, match="max_bin cannot be searched"):
        family("lightgbm").prepare(
            windows.train, windows.valid, settings.space("lightgbm"), Fitting("binary", metric("log_loss"))
        )


def test_history_baseline_is_the_smoothed_train_rate() -> None:
    windows = split(training_rows(), model_settings())
    predicted = predict_baseline(HistoryBaseline(by=["carrier"], smoothing=10), windows, windows.test)
    carrier = windows.train.table["carrier"].to_numpy() == "B6"
    mine = windows.train.y[carrier]
    expected = (mine.sum() + 10 * windows.train.y.mean()) / (len(mine) + 10)
    asked = windows.test.table["carrier"].to_numpy() == "B6"
    np.testing.assert_allclose(predicted[asked], expected)


def test_history_baseline_knows_nothing_of_new_groups() -> None:
    windows = split(training_rows(), model_settings())
    baseline = HistoryBaseline(by=["carrier", "flight"], smoothing=0)
    predicted = predict_baseline(baseline, windows, windows.test)
    np.testing.assert_allclose(predicted, windows.train.y.mean())


def test_seasonal_baseline_is_the_group_some_periods_before_even_in_the_same_window() -> None:
    windows = split(training_rows(), model_settings())
    predicted = predict_baseline(SeasonalBaseline(by=["carrier"], periods_before=7), windows, windows.test)
    asked = {"2013-03-25": "2013-03-18", "2013-04-01": "2013-03-25"}  # from the validation and from the test window
    table = training_rows()
    days, carriers, labels = (table[name].to_numpy() for name in ("ds", "carrier", "disrupted"))
    of_test = np.asarray(windows.test.keys)[windows.test.codes], windows.test.table["carrier"].to_numpy()
    for day, before in asked.items():
        rows = (of_test[0] == day) & (of_test[1] == "B6")
        assert rows.any()
        np.testing.assert_allclose(predicted[rows], labels[(days == before) & (carriers == "B6")].mean())


def test_seasonal_baseline_without_a_row_before_is_the_mean_and_smoothing_draws_towards_it() -> None:
    windows = split(training_rows(), model_settings())
    mean = windows.train.y.mean()
    nobody = SeasonalBaseline(by=["flight"], periods_before=7)
    np.testing.assert_allclose(predict_baseline(nobody, windows, windows.test), mean)
    drawn = SeasonalBaseline(by=["carrier"], periods_before=7, smoothing=1e9)
    np.testing.assert_allclose(predict_baseline(drawn, windows, windows.test), mean, atol=1e-6)
