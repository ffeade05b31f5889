"""Rows a second of a network's training, beside the same optimizer steps without moving data.

Subject: the loop of ``torch_mlp`` as a search runs it: draw rows by index from the window on the device, set the rate,
forward, backward, optimizer, evaluate after each tenth. Reference: as many rounds of forward, loss, backward and
optimizer of the same network on one batch that stays on the device. On a GPU also the time of its matrix products at
the rate that large bfloat16 products reach there.
"""

from __future__ import annotations

from typing import Any

from tests.benchmarks.cases import Call, Facts, Row, Scale, Target, Work
from tests.benchmarks.limits import threads

FEATURES = 40


def rows(scale: Scale) -> list[Row]:
    """List one row a size of the training window."""
    sizes = {"tiny": [20_000]}.get(scale, [100_000, 1_000_000] if _gpu() else [100_000, 400_000])
    found = []
    for size in sizes:
        given = {"size": size}
        limit = "the step alone"
        references = [Call(limit, "steps", given)]
        references += [Call("bf16 matrix products", "products", given)] if _gpu() else []
        target = Target("seconds", 0.8, limit, faster=True, text="rows/s >= 0.8x the step alone")
        subject = Call("torch_mlp", "ours", given)
        found.append(Row(f"{size:,} rows", size, "rows", subject, tuple(references), (target,), "torch"))
    return found


def _gpu() -> bool:
    from include.stack.pools import gpu_count

    return gpu_count() > 0


def _prepared(size: int) -> tuple[Any, Any, Any, Any]:
    """Return the family, its parameters, both windows on the device, and the fitting."""
    import numpy as np

    from include.spec.families import FAMILIES
    from include.training.data import EncodedRows, Encoding, Feature
    from include.training.families import family
    from include.training.families.base import Fitting
    from include.training.judging.metrics import metric

    draw = np.random.default_rng(0)
    encoding = Encoding(tuple(Feature(name=f"f{n:02d}") for n in range(FEATURES)))

    def window(count: int) -> EncodedRows:
        x = draw.normal(size=(count, FEATURES)).astype(np.float32)
        chance = 1 / (1 + np.exp(-x[:, 0] - 0.5 * x[:, 1]))
        return EncodedRows(encoding, x, (draw.random(count) < chance).astype(float), np.zeros(count, np.int64))

    kind, space = family("torch_mlp"), FAMILIES["torch_mlp"].space
    params: dict[str, Any] = {name: getattr(dimension, "value", None) for name, dimension in space.items()}
    params |= {"width": 256, "depth": 3, "dropout": 0.1, "learning_rate": 1e-3, "weight_decay": 1e-4, "batch": 1024,
               "epochs": 1, "patience": 100, "compile": False}  # fmt: skip
    fitting = Fitting("binary", metric("log_loss"), threads=threads())
    # a validation window of one row in fifty: evaluation belongs to the loop but is not compared
    return kind, params, kind.prepare(window(size), window(max(size // 50, 100)), space, fitting), fitting


def ours(size: int) -> Work:
    """Set up the training loop of the family."""
    from include.training.families.networks import _Loop

    kind, params, prepared, fitting = _prepared(size)

    def run() -> Facts:
        network = kind.build(params, prepared.inputs, kind.edges(params, prepared)).to(prepared.device)
        _Loop(network, params, prepared, fitting).run()
        _finish(prepared.device)
        return {}

    return Work(run)


def steps(size: int) -> Work:
    """Set up the same number of optimizer steps on one batch."""
    import torch
    from torch.nn import functional

    kind, params, prepared, _ = _prepared(size)
    torch.set_num_threads(threads())
    on_gpu = prepared.device.type == "cuda"
    batch = params["batch"]
    numbers, codes = prepared.train.numbers[:batch].clone(), prepared.train.codes[:batch].clone()
    y = prepared.train.y[:batch].clone().unsqueeze(1)

    def run() -> Facts:
        network = kind.build(params, prepared.inputs, None).to(prepared.device)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-4, fused=on_gpu)
        for _ in range(_batches(size, batch)):
            with torch.autocast("cuda", torch.bfloat16, enabled=on_gpu):
                outputs = network(numbers, codes)
            loss = functional.binary_cross_entropy_with_logits(outputs.float(), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
            optimizer.step()
        _finish(prepared.device)
        return {}

    return Work(run)


def products(size: int) -> Work:
    """Set up large bfloat16 products with as many operations as the training."""
    import torch

    _, params, prepared, _ = _prepared(size)
    width, edge = params["width"], 8192
    per_row = 2 * (prepared.inputs.width * width + (params["depth"] - 1) * width * width + width)
    wanted = 3 * per_row * _batches(size, params["batch"]) * params["batch"]  # forward, and two products backward
    one = torch.randn(edge, edge, device=prepared.device, dtype=torch.bfloat16)
    times = max(round(wanted / (2 * edge**3)), 1)

    def run() -> Facts:
        for _ in range(times):
            one @ one
        _finish(prepared.device)
        return {}

    return Work(run)


def _batches(size: int, batch: int) -> int:
    """Return the number of batches in all ten steps, as the loop counts them."""
    import math

    from include.training.families.base import STEPS

    return STEPS * max(math.ceil(size / STEPS / batch), 1)


def _finish(device: Any) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize()
