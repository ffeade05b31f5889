"""Labels of several classes: figures that can be computed by hand, columns that come back, faults with their remedy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError
from sklearn.metrics import roc_auc_score

from include.core.errors import TrainingError
from include.monitoring import reference, window_verdicts
from include.monitoring.window_verdicts import Judged
from include.promotion import gates
from include.quality.audit import audit
from include.spec.gates import GateSpec
from include.spec.monitoring import MonitoringSpec, QualitySpec
from include.spec.training import ConstantBaseline, HistoryBaseline
from include.spec.use_case import UseCase
from include.steps.suites import built_in
from include.training import predictions
from include.training.blend import choose
from include.training.calibration import Temperature
from include.training.data import split
from include.training.families import family
from include.training.families.base import Fitting
from include.training.fit import fit_best
from include.training.judging.baselines import predict_baseline
from include.training.judging.evidence import of_classes
from include.training.judging.leakage import probe
from include.training.judging.metrics import metric
from include.training.labels import labels_of
from include.training.model import load_model
from include.training.study.searching import search, study_name
from include.training.training_set import TrainingSet
from tests.unit import quality_case, shop_case
from tests.unit.folder_case import load_from
from tests.unit.training_rows import CLASSES, MULTICLASS, model_settings, rows_with_classes, training_rows

# four rows of three classes: the first two are right
Y = np.array([0.0, 1.0, 2.0, 0.0])
P = np.array([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.5, 0.25, 0.25], [0.25, 0.75, 0.0]])
BLOCKS = np.arange(4)
SETTINGS = model_settings(**MULTICLASS)


# ---- metrics ----------------------------------------------------------------------------------------


def test_metrics_are_those_of_pen_and_paper() -> None:
    assert metric("log_loss").value(Y[:2], P[:2]) == pytest.approx(np.log(2))
    assert metric("log_loss").value(Y, P) == pytest.approx((2 * np.log(2) + 2 * np.log(4)) / 4)
    assert metric("accuracy").value(Y, P) == 0.5
    # class 0 is found once of twice, class 1 always, class 2 never
    assert metric("recall_macro").value(Y, P) == pytest.approx((0.5 + 1 + 0) / 3)


def test_a_class_of_probability_zero_costs_much_but_not_everything() -> None:
    assert metric("log_loss").value(np.array([2.0]), P[3:]) == pytest.approx(-np.log(1e-12))


def test_the_macro_auc_is_the_mean_of_each_class_against_the_others() -> None:
    y = np.random.default_rng(0).integers(0, 3, 300).astype(float)
    predicted = np.random.default_rng(1).dirichlet(np.ones(3), 300)
    each = [roc_auc_score(y == at, predicted[:, at]) for at in range(3)]
    assert metric("auc_macro").value(y, predicted) == pytest.approx(np.mean(each))
    # a class without rows has no area
    assert metric("auc_macro").value(y, np.column_stack([predicted, np.zeros(300)])) == pytest.approx(np.mean(each))


@pytest.mark.parametrize("name", ["log_loss", "accuracy", "recall_macro", "auc_macro"])
def test_a_resample_is_the_metric_of_the_repeated_rows(name: str) -> None:
    weights = np.array([[2.0, 0.0, 1.0, 3.0]])
    rows = np.repeat(BLOCKS, weights[0].astype(int))
    resampled = metric(name).reduce(Y, P, BLOCKS, 4)(weights)[0]
    assert resampled == pytest.approx(metric(name).value(Y[rows], P[rows]))


def test_nan_is_undefined_everywhere() -> None:
    bad = P.copy()
    bad[0] = np.nan
    assert all(np.isnan(metric(name).value(Y, bad)) for name in ("log_loss", "accuracy", "auc_macro"))


def test_the_figures_of_each_class() -> None:
    first, second, third = of_classes(Y, P, ("a", "b", "c"))
    assert (first.rows, first.share, first.recall, first.predicted_share) == (2, 0.5, 0.5, 0.5)
    assert (second.recall, second.predicted_share) == (1.0, 0.5)
    assert (third.recall, third.predicted_share) == (0.0, 0.0)


# ---- labels -----------------------------------------------------------------------------------------


def with_label(values: list[Any]) -> pa.Table:
    """Return the rows with other labels, the last of ``values`` on the newest day."""
    table = rows_with_classes()
    return table.set_column(table.column_names.index("state"), "state", pa.array(values))


def test_classes_are_those_of_the_train_window_in_order() -> None:
    windows = split(rows_with_classes(), SETTINGS)
    assert windows.classes == CLASSES
    assert [windows.classes[int(at)] for at in windows.test.y[:20]] == windows.test.table["state"].to_pylist()[:20]


def test_whole_numbers_are_classes_in_their_own_order() -> None:
    windows = split(with_label([(9, 10, -1)[row % 3] for row in range(2400)]), SETTINGS)
    assert windows.classes == ("-1", "9", "10")
    assert windows.train.y[:3].tolist() == [1.0, 2.0, 0.0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({2399: "stolen"}, "test window: 1 rows have the state 'stolen', which no row of the train window has"),
        ({1700: "stolen"}, "valid window: 1 rows have the state 'stolen'"),
        ({5: None}, "train window: label state is null in 1 rows"),
        (dict.fromkeys(range(2000, 2400), "late"), "test window: label state is late in all 400 rows"),
    ],
)
def test_a_label_that_cannot_be_learnt_is_named(change: dict[int, Any], said: str) -> None:
    values = rows_with_classes()["state"].to_pylist()
    for row, value in change.items():
        values[row] = value
    with pytest.raises(TrainingError, match=said):
        split(with_label(values), SETTINGS)


def test_a_label_of_another_type_is_refused_with_the_remedy() -> None:
    with pytest.raises(TrainingError, match=r"label state is double; a class is text or a whole number.*AS VARCHAR"):
        split(with_label([0.5] * 2400), SETTINGS)
    with pytest.raises(TrainingError, match="say task: multiclass"):
        labels_of("binary").refuse_type(pa.string(), "state")


def test_a_label_that_is_an_identifier_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"the label has 1,600 classes, such as row 0; at most 100 are learnt"):
        split(with_label([f"row {row}" for row in range(2400)]), SETTINGS)


def test_two_classes_are_the_binary_model_with_other_names() -> None:
    table = rows_with_classes()
    names = pa.array(np.where(table["disrupted"].to_numpy() == 1, "yes", "no"))
    of_classes = split(with_label(names.to_pylist()), SETTINGS)
    binary = split(training_rows(), model_settings())
    params = {"penalty": 0.05, "max_iter": 60}
    found = []
    for task, windows in (("binary", binary), ("multiclass", of_classes)):
        fitting, kind = Fitting(task, metric("log_loss"), classes=len(windows.classes)), family("logistic")
        model = kind.fit(params, kind.prepare(windows.train, windows.valid, {}, fitting), fitting)
        found.append(model.predict(windows.test.x))
    np.testing.assert_allclose(found[1], np.column_stack([1 - found[0], found[0]]), atol=1e-9)


# ---- baselines, calibration, blends, leaks -----------------------------------------------------------


def test_baselines_predict_shares_of_classes() -> None:
    table = with_label([("a", "b", "b", "c")[row % 4] for row in range(2400)])
    windows = split(table.set_column(2, "carrier", pa.array([("x", "y")[row % 2] for row in range(2400)])), SETTINGS)
    constant = predict_baseline(ConstantBaseline(), windows, windows.test)
    np.testing.assert_allclose(constant[0], [0.25, 0.5, 0.25])
    by = predict_baseline(HistoryBaseline(by=["carrier"], smoothing=0), windows, windows.test)
    # x has a and b in turns, y has b and c
    np.testing.assert_allclose(by[:2], [[0.5, 0.5, 0], [0, 0.5, 0.5]])
    assert constant.shape == by.shape == (400, 3)


def test_a_temperature_of_two_takes_square_roots(tmp_path: Path) -> None:
    found = Temperature(2.0).apply(np.array([[0.8, 0.2]]))
    np.testing.assert_allclose(found, [[2 / 3, 1 / 3]])
    Temperature(2.0).save(tmp_path / "calibration.json")
    assert Temperature.load(tmp_path / "calibration.json") == Temperature(2.0)


def test_a_temperature_undoes_certainty_and_leaves_good_probabilities_alone() -> None:
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(np.ones(3), 4000)
    y = np.array([rng.choice(3, p=row) for row in truth]).astype(float)
    certain = Temperature(0.5).apply(truth)
    assert Temperature.learn(y, certain).value == pytest.approx(2, rel=0.1)
    assert Temperature.learn(y, truth).value == pytest.approx(1, abs=0.1)
    np.testing.assert_allclose(Temperature(2.0).apply(certain), truth, atol=1e-9)


def test_models_that_err_apart_are_blended() -> None:
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(np.ones(3), 2800)
    y = np.array([rng.choice(3, p=row) for row in truth]).astype(float)
    noisy = [truth * np.exp(np.random.default_rng(seed).normal(size=truth.shape)) for seed in (1, 2)]
    noisy = [one / one.sum(axis=1, keepdims=True) for one in noisy]
    choice = choose(metric("log_loss"), y, noisy, np.repeat(np.arange(28), 100), resamples=200, seed=0)
    assert choice.better
    assert min(choice.weights) > 0.2


def test_a_feature_that_tells_one_class_is_found_with_the_class() -> None:
    table = rows_with_classes()
    told = np.asarray(table["state"].to_numpy() == "verspätet").astype(float)
    noise = np.random.default_rng(0).normal(size=len(told))
    found = probe(table.append_column("scan", pa.array(told * 5 + noise)), SETTINGS, threshold=0.99)
    assert [(one.feature, one.by, one.of_class) for one in found if one.flagged] == [("scan", "value", "verspätet")]
    assert not any(one.flagged for one in probe(table, SETTINGS, threshold=0.99))


# ---- columns ----------------------------------------------------------------------------------------


def test_published_columns_come_back_exactly() -> None:
    classes = ('the "odd" one', "Ἀθῆναι", "c")
    predicted = np.array([[1 / 3, 2 / 3, 0.0], [1e-300, 0.1, 0.9], [1.0, 0.0, 0.0]])
    columns = predictions.columns(predicted, classes)
    assert columns["prediction"].to_pylist() == ["Ἀθῆναι", "c", 'the "odd" one']
    assert columns["probability"].to_pylist() == [2 / 3, 0.9, 1.0]
    assert json.loads(columns["probabilities"][0].as_py()) == dict(zip(classes, predicted[0], strict=True))
    np.testing.assert_array_equal(predictions.of_columns(pa.table(columns), classes), predicted)
    # a model that knew more classes or fewer
    np.testing.assert_array_equal(predictions.of_columns(pa.table(columns), ("c", "d"))[:, 0], predicted[:, 2])


def test_probabilities_among_more_classes_are_zero_where_a_model_knows_none() -> None:
    every = predictions.union(("b", "c"), ("a", "b"))
    assert every == ("b", "c", "a")
    np.testing.assert_array_equal(predictions.among(np.array([[0.25, 0.75]]), ("a", "b"), every), [[0.75, 0, 0.25]])


def parcels() -> UseCase:
    return load_from(shop_case.FOLDER, "parcels")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, None),
        ({"probabilities": '{"late": 0.75, "on time": 0.5}'}, "probabilities are not negative and add up to 1"),
        ({"probabilities": '{"late": 1.25, "on time": -0.25}'}, "probabilities are not negative and add up to 1"),
        ({"probability": 0.7}, "the predicted class is the most likely one"),
        ({"prediction": None}, "a row without a prediction was not scored"),
        ({"probabilities": None}, "later steps judge the probability of every class"),
    ],
)
def test_the_audit_of_scores_refuses_what_are_no_probabilities(
    change: dict[str, Any], why: str | None, tmp_path: Path
) -> None:
    row = {"ds": "2013-01-01", "depot": "Malmö", "parcel": "1", "prediction": "late", "probability": 0.75,
           "probabilities": '{"late": 0.75, "on time": 0.25}', "model_version": 1, "features_version": "a"}  # fmt: skip
    suite = built_in(parcels(), "scores")
    assert suite is not None
    table = pa.Table.from_pylist([row | change], schema=pa.schema([
        (name, pa.float64() if name == "probability" else pa.int64() if name == "model_version" else pa.string())
        for name in row
    ]))  # fmt: skip
    report = audit(suite, table, ["2013-01-01"], quality_case.place(tmp_path))
    found = {failure.why for failure in report.failures}
    assert (why in found) if why else not found


# ---- gates and monitoring ---------------------------------------------------------------------------


def test_the_gates_compare_models_that_know_other_classes() -> None:
    keys = np.repeat([f"2024-W{week:02}" for week in range(1, 11)], 30)
    y = np.tile([0.0, 1.0, 1.0], 100)
    good = np.where(y[:, None] == np.arange(2), 0.9, 0.1)
    poor = np.full((300, 2), 0.5)
    classes = predictions.union(("a", "b"), ("b", "z"))
    test = gates.TestRows(
        keys,
        y,
        challenger=predictions.among(good, ("a", "b"), classes),
        champion=predictions.among(poor, ("b", "z"), classes),
    )
    verdict = gates.judge(test, GateSpec(guardrails={"recall_macro": {"min": 0.9}}))
    assert verdict.promote, verdict.reason
    assert verdict.value == pytest.approx(-np.log(0.9))
    assert verdict.champion_value == pytest.approx((-np.log(0.5) * 2 - np.log(1e-12)) / 3)


def figures(judged: Judged, **spec: Any) -> dict[str, window_verdicts.Figure]:
    found = window_verdicts.quality(judged, QualitySpec(min_rows=10, **spec), task="multiclass")
    return {one.metric: one for one in found}


def test_the_monitor_keeps_each_class_to_its_promised_recall() -> None:
    keys = np.repeat([f"2024-W{week:02}" for week in range(1, 11)], 30)
    y = np.tile([0.0, 1.0, 1.0], 100)
    predicted = np.repeat([[0.2, 0.8]], 300, axis=0)
    constant = {"constant": np.repeat([[1 / 3, 2 / 3]], 300, axis=0)}
    found = figures(
        Judged(keys, y, predicted, constant, ("late", "on time")), min_recall={"late": 0.3}, min_accuracy=0.6
    )
    assert (found["recall(late)"].value, found["recall(late)"].violated, found["recall(late)"].n) == (0.0, True, 100)
    assert (found["recall(on time)"].value, found["recall(on time)"].violated) == (1.0, False)
    assert (found["accuracy"].value, found["accuracy"].violated) == (pytest.approx(2 / 3), False)
    assert found["calibration_gap"].value == pytest.approx(0.8 - 2 / 3)
    # all rows alike: no class is told from the other
    assert (found["auc_macro"].value, found["auc_macro"].violated) == (0.5, True)
    worse = (-np.log(0.2) - 2 * np.log(0.8)) / 3 - (-np.log(1 / 3) - 2 * np.log(2 / 3)) / 3
    assert found["log_loss_minus_constant"].value == pytest.approx(worse)
    assert found["log_loss_minus_constant"].violated


def test_a_class_that_the_model_never_saw_is_judged_as_probability_zero() -> None:
    y, predicted = np.array([0.0, 2.0] * 5), np.array([[0.5, 0.5, 0]] * 10)
    found = figures(Judged(["2024-W01"] * 10, y, predicted, {}, ("a", "b", "new"), unknown=1))
    assert found["log_loss"].value == pytest.approx((np.log(2) - np.log(1e-12)) / 2)
    assert (found["recall(new)"].value, found["recall(b)"].value, found["recall(b)"].n) == (0.0, None, 0)
    assert (found["unknown_class_share"].value, found["unknown_class_share"].violated) == (0.5, True)
    known = figures(Judged(["2024-W01"] * 10, y, predicted, {}, ("a", "b", "c")))
    assert (known["unknown_class_share"].value, known["unknown_class_share"].violated) == (0.0, False)


def test_a_spec_promises_recalls_only_where_there_are_classes() -> None:
    values = shop_case.shop().model_dump(mode="json", exclude={"like"})
    for promised in ({"min_recall": {"late": 0.5}}, {"min_accuracy": 0.5}):
        quality = MonitoringSpec(quality=QualitySpec(**promised)).model_dump(mode="json")
        with pytest.raises(
            ValidationError, match=f"monitoring.quality.{next(iter(promised))} is for labels of several"
        ):
            UseCase.model_validate(values | {"monitoring": quality})


# ---- a fitted model ---------------------------------------------------------------------------------


def test_a_blend_with_a_temperature_is_written_and_keeps_its_reference(tmp_path: Path) -> None:
    rows = TrainingSet.of(rows_with_classes())
    settings = model_settings(
        **MULTICLASS, trials=3, ensemble="greedy", pruner="none", calibration="temperature", slices=["carrier"]
    )
    storage, name = f"sqlite:///{tmp_path / 'studies.db'}", study_name("parcels", rows.fingerprint, settings)
    search(storage, name, rows, settings, prepared=tmp_path / "prepared", checkpoints=tmp_path / "checkpoints")
    fitted = fit_best(
        storage, name, rows, settings, tmp_path / "model", use_case="parcels", checkpoints=tmp_path / "checkpoints",
        write_reference=reference.write_reference,
    )  # fmt: skip
    assert fitted.manifest.classes == CLASSES
    assert fitted.manifest.blend is not None
    loaded, test = load_model(tmp_path / "model"), split(rows.table, settings).test
    predicted = loaded.predict(test.table)
    np.testing.assert_allclose(predicted.sum(axis=1), 1, atol=1e-12)
    primary = fitted.evidence.primary.value
    assert primary == pytest.approx(metric("log_loss").value(test.y, predicted))
    assert primary < 0.9 * fitted.evidence.metrics["constant"]["log_loss"].value
    assert sum(one.rows for one in fitted.evidence.classes) == len(test.y)
    known = reference.read_reference(tmp_path / "model")
    assert known.profile.categorical["prediction"].n == known.profile.numeric["probability"].n == len(test.y)
    assert sum(known.profile.class_shares.values()) == pytest.approx(1)
    assert known.profile.label_rate is None
    np.testing.assert_array_equal(predictions.of_columns(known.sample, CLASSES), predicted)
