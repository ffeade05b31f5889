"""Networks: devices, inputs, what each architecture is made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from include.core.errors import TrainingError
from include.training.data import split
from include.training.families import family
from include.training.families.base import Fitting
from include.training.families.inputs import Inputs
from include.training.families.networks import pick_device
from include.training.families.tabm import PiecewiseLinear, SharedLinear
from include.training.judging.metrics import metric
from tests.unit.test_training_families import few, point
from tests.unit.training_rows import model_settings, training_rows

WINDOWS = split(training_rows(), model_settings())
NO_GPU = not torch.cuda.is_available()


def test_inputs_standardise_mark_what_is_missing_and_know_the_unseen() -> None:
    inputs = Inputs.learn(WINDOWS.train.x, WINDOWS.encoding)
    numbers, codes = inputs.numbers(WINDOWS.train.x), inputs.codes(WINDOWS.train.x)
    assert inputs.marked == (3,)  # gap
    assert np.abs(numbers[:, :2].mean(axis=0)).max() < 0.01
    np.testing.assert_array_equal(numbers[:, -1] == 1, np.isnan(WINDOWS.train.x[:, 3]))
    assert numbers[numbers[:, -1] == 1, 2].tolist() == [0.0] * int(numbers[:, -1].sum())
    assert set(codes[:, 0].tolist()) == {1, 2, 3}
    unseen = WINDOWS.train.x[:1].copy()
    unseen[0, 0] = np.nan
    unseen[0, 1] = 1e9
    assert inputs.codes(unseen)[0, 0] == 0
    assert inputs.numbers(unseen)[0, 0] == 5.0


def test_piecewise_numbers_pass_bins_one_after_the_other() -> None:
    layer = PiecewiseLinear(torch.tensor([[0.0, 1.0, 1.0, 3.0]]), width=3)
    with torch.no_grad():
        layer.mix.copy_(torch.eye(3).unsqueeze(0))
    out = layer(torch.tensor([[-1.0], [0.5], [2.0], [9.0]]))
    assert out.tolist() == [[0, 0, 0], [0.5, 0, 0], [1, 1, 0.5], [1, 1, 1]]


def test_members_share_the_matrix_and_differ_by_their_scales() -> None:
    layer = SharedLinear(4, 3, members=2, first=True)
    x = torch.randn(5, 1, 4)
    out = layer(x)
    assert out.shape == (5, 2, 3)
    expected = layer.shared(x[:, 0] * layer.into[1]) * layer.out[1] + layer.bias[1]
    torch.testing.assert_close(out[:, 1], expected)


def test_device_that_is_not_there_is_named() -> None:
    assert pick_device("cpu").type == "cpu"
    if NO_GPU:
        assert pick_device("auto").type == "cpu"
        with pytest.raises(TrainingError, match="torch sees no GPU; use device auto or cpu"):
            pick_device("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(NO_GPU, reason="torch sees no CUDA device")
@pytest.mark.parametrize("name", ["torch_mlp", "torch_tabm"])
@pytest.mark.parametrize("compiled", [False, True])
def test_gpu_fits_as_well_as_the_cpu(name: str, compiled: bool) -> None:
    settings = model_settings(families={name: few(name)})
    values = []
    for device in ("cpu", "cuda"):
        fitting = Fitting("binary", metric("log_loss"), device=device)
        kind = family(name)
        prepared = kind.prepare(WINDOWS.train, WINDOWS.valid, settings.space(name), fitting)
        params = point(settings, name) | {"compile": compiled and device == "cuda"}
        model = kind.fit(params, prepared, fitting)
        values.append(metric("log_loss").value(WINDOWS.test.y, model.predict(WINDOWS.test.x)))
    assert values[1] == pytest.approx(values[0], abs=0.02)
