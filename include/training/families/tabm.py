"""Many networks in one: a batch ensemble over piecewise-linear embeddings of numbers.

Gorishniy and others, "TabM: Advancing tabular deep learning with parameter-efficient ensembling" (ICLR
2025, arXiv:2410.24210): members share every weight matrix and differ by the vectors that scale its inputs
and outputs (Wen and others, "BatchEnsemble", ICLR 2020, arXiv:2002.06715); each learns for itself and
their predictions are averaged. Numbers enter by the piecewise-linear encoding of Gorishniy and others,
"On embeddings for numerical features in tabular deep learning" (NeurIPS 2022, arXiv:2203.05556).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from include.training.families.base import Params
from include.training.families.inputs import Inputs
from include.training.families.mlp import embeddings
from include.training.families.networks import Network, NetworkFamily, Tensors


class PiecewiseLinear(nn.Module):
    """An embedding of numbers: the share of every bin below the number, mixed by a matrix for each feature."""

    edges: Tensor

    def __init__(self, edges: Tensor, width: int) -> None:
        super().__init__()
        features, bins = edges.shape[0], edges.shape[1] - 1
        self.register_buffer("edges", edges)
        self.mix = nn.Parameter(torch.randn(features, bins, width) / max(bins, 1) ** 0.5)
        self.shift = nn.Parameter(torch.zeros(features, width))

    def forward(self, numbers: Tensor) -> Tensor:
        """Map shape (rows, features) to (rows, features * width)."""
        lower, wide = self.edges[:, :-1], self.edges.diff(dim=1)
        # a bin without width, of a value that is very frequent, becomes a step
        passed = ((numbers.unsqueeze(2) - lower) / wide.clamp(min=1e-4)).clamp(0, 1)
        return torch.relu(torch.einsum("rfb,fbw->rfw", passed, self.mix) + self.shift).flatten(1)


class SharedLinear(nn.Module):
    """One weight matrix, and for each member a scale of its inputs and of its outputs."""

    def __init__(self, before: int, after: int, members: int, *, first: bool) -> None:
        super().__init__()
        self.shared = nn.Linear(before, after, bias=False)
        # members differ from the start by the signs of the first layer only; the paper finds it best
        into = torch.randint(0, 2, (members, before)) * 2.0 - 1 if first else torch.ones(members, before)
        self.into, self.out = nn.Parameter(into), nn.Parameter(torch.ones(members, after))
        self.bias = nn.Parameter(torch.empty(members, after).uniform_(-1, 1) / before**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map shape (rows, members or 1, before) to (rows, members, after)."""
        out: Tensor = self.shared(x * self.into) * self.out + self.bias
        return out


class TabM(Network):
    """An ensemble of dense networks that costs little more than one."""

    def __init__(self, params: Params, inputs: Inputs, edges: Tensor) -> None:
        super().__init__()
        self.numeric, members = len(inputs.numeric), int(params["members"])
        self.pieces = PiecewiseLinear(edges, int(params["embedding"]))
        self.tables, embedded = embeddings(inputs)
        before = self.numeric * int(params["embedding"]) + len(inputs.marked) + embedded
        width = int(params["width"])
        layers: list[nn.Module] = []
        for i in range(int(params["depth"])):
            layers += [SharedLinear(before, width, members, first=i == 0), nn.ReLU()]
            layers += [nn.Dropout(float(params["dropout"]))]
            before = width
        self.layers = nn.Sequential(*layers)
        self.heads = nn.Parameter(torch.empty(members, width).uniform_(-1, 1) / width**0.5)
        self.shift = nn.Parameter(torch.zeros(members))

    def forward(self, numbers: Tensor, codes: Tensor) -> Tensor:
        """Return one output per row and member, shape (rows, members)."""
        embedded = [table(codes[:, at]) for at, table in enumerate(self.tables)]
        pieces = self.pieces(numbers[:, : self.numeric])
        x = torch.cat([pieces, numbers[:, self.numeric :], *embedded], dim=1)
        out: Tensor = (self.layers(x.unsqueeze(1)) * self.heads).sum(dim=2) + self.shift
        return out


class TorchTabM(NetworkFamily):
    """TabM: a batch ensemble of dense networks over piecewise-linear numbers."""

    name = "torch_tabm"

    def build(self, params: Params, inputs: Inputs, edges: Tensor | None, classes: int = 0) -> Network:
        """Make an untrained network; a spec with classes is refused before it comes here."""
        if edges is None:
            edges = torch.zeros(len(inputs.numeric), int(params["bins"]) + 1)
        return TabM(params, inputs, edges)

    def edges(self, params: Params, tensors: Tensors) -> Tensor:
        """Return quantiles of the train numbers."""
        return tensors.edges(int(params["bins"]))


FAMILY = TorchTabM()
