"""Fits of tabular networks: the whole window lies on the device, batches are drawn by index.

Effort is cut into ten steps. The rows of a step and its dropout depend on the seed and the step only, so a fit that
goes on from a checkpoint equals one that was never interrupted (on a CPU).
"""

from __future__ import annotations

import json
import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from include.core.errors import TrainingError
from include.spec.families import Space
from include.training.data import Encoding, Floats, Matrix, Rows
from include.training.families import heads
from include.training.families.base import STEPS, Family, Fitting, Params, as_floats
from include.training.families.heads import Head
from include.training.families.inputs import Fed, Inputs, fed

_WEIGHTS, _ABOUT = "network.safetensors", "network.json"
_STATE, _WATCH = "state.safetensors", "watch.json"
_SLAB = 16_384
_WARM_UP = 0.05
_IMPORTANCE_ROWS = 2_048
_TENSORS = dict[str, Tensor]


@dataclass(frozen=True)
class OnDevice:
    """A window as tensors: numbers (rows, width), codes (rows, categories), targets and weights (rows,)."""

    numbers: Tensor
    codes: Tensor
    y: Tensor
    weights: Tensor | None


@dataclass(frozen=True)
class Tensors:
    """Both windows, moved to the device once per worker.

    ``edges`` are quantiles of the train numbers, shape (numeric features, quantiles), for networks that read numbers
    piece by piece.
    """

    inputs: Inputs
    train: OnDevice
    valid: Fed
    device: torch.device
    head: Head
    quantiles: dict[int, Tensor] = field(default_factory=dict)

    def edges(self, bins: int) -> Tensor:
        """Return ``bins + 1`` quantiles of each numeric feature."""
        if bins not in self.quantiles:
            numbers = self.train.numbers[:, : len(self.inputs.numeric)]
            # a sample places quantiles well enough, and torch refuses to sort very many at once
            every = max(len(numbers) // 100_000, 1)
            at = torch.linspace(0, 1, bins + 1, device=numbers.device)
            self.quantiles[bins] = torch.quantile(numbers[::every], at, dim=0).T.contiguous().cpu()
        return self.quantiles[bins]


class Network(nn.Module):
    """A network with outputs as a ``Head`` reads them; everything it needs besides weights is in its buffers."""

    def forward(self, numbers: Tensor, codes: Tensor) -> Tensor:
        """Return outputs of shape (rows, members), or (rows, members, classes)."""
        raise TypeError(f"{type(self).__name__} has no forward pass")


@dataclass(frozen=True)
class Fitted:
    """A network that predicts; ``about`` holds everything that its weights do not say."""

    network: Network
    inputs: Inputs
    head: Head
    about: Mapping[str, Any]

    def predict(self, x: Matrix, threads: int = 1) -> Floats:
        """Predict as the head does, on the CPU, so that results are equal everywhere."""
        torch.set_num_threads(threads)
        out = np.empty((len(x), self.head.classes) if self.head.classes else len(x))
        for begin in range(0, len(x), _SLAB):
            part = x[begin : begin + _SLAB]
            numbers, codes = torch.from_numpy(self.inputs.numbers(part)), torch.from_numpy(self.inputs.codes(part))
            out[begin : begin + _SLAB] = _outputs(self.network, numbers, codes, self.head)
        return out

    def importance(self) -> Floats:
        """Return the mean absolute change of the prediction when the feature is shuffled, measured after the fit."""
        return as_floats(self.about["importance"])

    def save(self, folder: Path) -> None:
        """Write weights as safetensors and the rest as JSON."""
        save_file(_contiguous(self.network.state_dict()), folder / _WEIGHTS)
        (folder / _ABOUT).write_text(
            json.dumps({"inputs": self.inputs.as_json(), "about": dict(self.about)}), encoding="utf-8"
        )


@dataclass
class _Watch:
    step: int = 0
    best_value: float = math.nan
    best_step: int = 0


class NetworkFamily(Family[Tensors]):
    """A family of networks; one subclass per architecture."""

    @abstractmethod
    def build(self, params: Params, inputs: Inputs, edges: Tensor | None, classes: int = 0) -> Network:
        """Make an untrained network; without ``edges`` its buffers are placeholders that loading fills.

        ``classes`` is the number of each member's outputs; 0 for one number.
        """

    def edges(self, params: Params, tensors: Tensors) -> Tensor | None:
        """Return the quantiles that :meth:`build` needs; none by default."""
        return None

    def prepare(self, train: Rows, valid: Rows, space: Space, fitting: Fitting) -> Tensors:
        """Encode both windows and move the train window to the device."""
        torch.set_num_threads(fitting.threads)
        device = pick_device(fitting.device)
        inputs, rows, watched = fed(train, valid)
        head = heads.learn(fitting.task, rows.y, fitting.focal, fitting.classes)
        weights = fitting.weights(rows.y)
        moved = OnDevice(
            torch.from_numpy(rows.numbers).to(device),
            torch.from_numpy(rows.codes).to(device),
            head.target(rows.y).to(device),
            None if weights is None else torch.from_numpy(weights.astype(np.float32)).to(device),
        )
        return Tensors(inputs, moved, watched, device, head)

    def fit(self, params: Params, prepared: Tensors, fitting: Fitting) -> Fitted:
        """Run ten steps of AdamW under a cosine schedule; the best step's weights win."""
        torch.set_num_threads(fitting.threads)
        torch.manual_seed(fitting.seed)
        edges, head = self.edges(params, prepared), prepared.head
        network = self.build(params, prepared.inputs, edges, head.classes).to(prepared.device)
        network.load_state_dict(_Loop(network, params, prepared, fitting).run())
        on_cpu = network.cpu()
        about = {"params": dict(params), **heads.as_json(fitting.task, head)}
        about["importance"] = _importance(on_cpu, prepared, fitting).tolist()
        return Fitted(on_cpu, prepared.inputs, head, about)

    def load(self, folder: Path, encoding: Encoding) -> Fitted:
        """Read weights and description."""
        state = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        inputs = Inputs.of_json(state["inputs"])
        if len(inputs.numeric) + len(inputs.categorical) != len(encoding.features):
            raise TrainingError(f"{folder / _ABOUT} is of a model with other features than its manifest names")
        head = heads.of_json(state["about"])
        network = self.build(state["about"]["params"], inputs, None, head.classes)
        network.load_state_dict(load_file(folder / _WEIGHTS))
        return Fitted(network.eval(), inputs, head, state["about"])


def pick_device(wanted: str) -> torch.device:
    """Return the device called ``auto``, ``cpu`` or ``cuda``.

    Raises:
        TrainingError: a GPU was asked for and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device cuda was asked for, but torch sees no GPU; use device auto or cpu")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


class _Loop:
    """One fit in progress."""

    def __init__(self, network: Network, params: Params, prepared: Tensors, fitting: Fitting) -> None:
        self._network, self._params, self._prepared, self._fitting = network, params, prepared, fitting
        self._on_gpu = prepared.device.type == "cuda"
        self._optimizer = torch.optim.AdamW(
            network.parameters(), lr=float(params["learning_rate"]), weight_decay=float(params["weight_decay"]),
            fused=self._on_gpu,
        )  # fmt: skip
        self._forward: Any = torch.compile(network) if params["compile"] else network
        rows = len(prepared.train.y)
        self._batch = min(int(params["batch"]), rows)
        self._batches = max(math.ceil(float(params["epochs"]) * rows / STEPS / self._batch), 1)
        self._valid_numbers = torch.from_numpy(prepared.valid.numbers).to(prepared.device)
        self._valid_codes = torch.from_numpy(prepared.valid.codes).to(prepared.device)
        self._at, self._best = _Watch(), _copy(network)

    def run(self) -> _TENSORS:
        """Fit, and return the weights of the best step."""
        begin = self._fitting.checkpoints.resume()
        if begin is not None:
            self._restore(begin)
        at = self._at
        while at.step < STEPS and at.step - at.best_step < int(self._params["patience"]):
            self._step(at.step)
            at.step += 1
            value = self._judge()
            self._fitting.on_step(at.step, value)
            if not at.best_step or self._fitting.metric.worse(at.best_value, value):
                at.best_value, at.best_step, self._best = value, at.step, _copy(self._network)
            self._fitting.checkpoints.keep(at.step, self._keep)
        return self._best

    def _step(self, step: int) -> None:
        self._network.train()
        # a generator on the CPU draws the same rows whatever the device
        draw = torch.Generator().manual_seed(self._fitting.seed * 1_000 + step)
        torch.manual_seed(self._fitting.seed * 1_000 + step)
        rows = len(self._prepared.train.y)
        wanted = self._batches * self._batch
        drawn = [torch.randperm(rows, generator=draw) for _ in range(math.ceil(wanted / rows))]
        order = torch.cat(drawn)[:wanted].to(self._prepared.device)
        for number, chosen in enumerate(torch.split(order, self._batch)):
            self._set_rate(step * self._batches + number)
            with torch.autocast("cuda", torch.bfloat16, enabled=self._on_gpu):
                outputs = self._forward(self._prepared.train.numbers[chosen], self._prepared.train.codes[chosen])
            loss = self._loss(outputs.float(), chosen)
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
            self._optimizer.step()

    def _set_rate(self, batch: int) -> None:
        total = self._batches * STEPS
        warm = max(total * _WARM_UP, 1)
        share = (batch + 1) / warm if batch < warm else 0.5 * (1 + math.cos(math.pi * (batch - warm) / (total - warm)))
        for group in self._optimizer.param_groups:
            group["lr"] = float(self._params["learning_rate"]) * share

    def _loss(self, outputs: Tensor, chosen: Tensor) -> Tensor:
        """Return the mean loss over rows and members: each member learns for itself."""
        train = self._prepared.train
        losses = self._prepared.head.losses(outputs, train.y[chosen])
        if train.weights is None:
            return losses.mean()
        weights = train.weights[chosen].unsqueeze(1)
        return (losses * weights).sum() / (weights.sum() * losses.shape[1])

    def _judge(self) -> float:
        predicted = _outputs(self._network, self._valid_numbers, self._valid_codes, self._prepared.head)
        return self._fitting.value(self._prepared.valid.y, predicted)

    def _keep(self, folder: Path) -> None:
        tensors = {f"now.{name}": value for name, value in self._network.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self._best.items()}
        for i, state in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{name}": value for name, value in state.items()}
        save_file(_contiguous(tensors), folder / _STATE)
        (folder / _WATCH).write_text(json.dumps(vars(self._at)), encoding="utf-8")

    def _restore(self, folder: Path) -> None:
        tensors = load_file(folder / _STATE, device=str(self._prepared.device))

        def part(prefix: str) -> _TENSORS:
            return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}

        self._network.load_state_dict(part("now."))
        self._best = part("best.")
        state: dict[int, _TENSORS] = {}
        for name, value in part("optimizer.").items():
            i, _, kind = name.partition(".")
            state.setdefault(int(i), {})[kind] = value
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})
        self._at = _Watch(**json.loads((folder / _WATCH).read_text(encoding="utf-8")))


@torch.no_grad()
def _outputs(network: Network, numbers: Tensor, codes: Tensor, head: Head) -> Floats:
    """Predict a window: the mean over members, of probabilities if the label has classes."""
    network.eval()
    parts = []
    with torch.autocast("cuda", torch.bfloat16, enabled=numbers.device.type == "cuda"):
        for begin in range(0, len(numbers), _SLAB):
            part = network(numbers[begin : begin + _SLAB], codes[begin : begin + _SLAB]).float()
            parts.append(head.shares(part))
    return head.predictions(as_floats(torch.cat(parts).cpu().numpy())) if parts else np.empty(0)


def _importance(network: Network, prepared: Tensors, fitting: Fitting) -> Floats:
    """Return importances in matrix order: each feature is shuffled alone, a number together with its mark."""
    inputs, valid, head = prepared.inputs, prepared.valid, prepared.head
    draw = np.random.default_rng(fitting.seed)
    rows = np.sort(draw.choice(len(valid.y), min(len(valid.y), _IMPORTANCE_ROWS), replace=False))
    numbers, codes = torch.from_numpy(valid.numbers[rows]), torch.from_numpy(valid.codes[rows])
    shuffled = torch.from_numpy(draw.permutation(len(rows)))
    usual = _outputs(network, numbers, codes, head)
    out = np.zeros(len(inputs.numeric) + len(inputs.categorical))
    marks = {i: len(inputs.numeric) + at for at, i in enumerate(inputs.marked)}
    for at, i in enumerate(inputs.numeric):
        columns = [at, marks[i]] if i in marks else [at]
        changed = numbers.clone()
        changed[:, columns] = numbers[shuffled][:, columns]
        out[i] = np.abs(_outputs(network, changed, codes, head) - usual).mean()
    for at, (i, _) in enumerate(inputs.categorical):
        turned = codes.clone()
        turned[:, at] = codes[shuffled, at]
        out[i] = np.abs(_outputs(network, numbers, turned, head) - usual).mean()
    return out


def _copy(network: Network) -> _TENSORS:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _contiguous(tensors: Mapping[str, Tensor]) -> _TENSORS:
    # safetensors refuses tensors that share memory
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
