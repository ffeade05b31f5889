"""A plain network: numbers and category embeddings into a few dense layers.

The strong simple baseline of Gorishniy and others, "Revisiting deep learning models for tabular data"
(NeurIPS 2021, arXiv:2106.11959).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from include.training.families.base import Params
from include.training.families.inputs import Inputs
from include.training.families.networks import Network, NetworkFamily


def embeddings(inputs: Inputs) -> tuple[nn.ModuleList, int]:
    """Make one table per categorical feature; return them and the sum of their widths."""
    widths = [min(16, (count + 3) // 2) for _, count in inputs.categorical]
    tables = [nn.Embedding(count + 1, width) for (_, count), width in zip(inputs.categorical, widths, strict=True)]
    return nn.ModuleList(tables), sum(widths)


class Mlp(Network):
    """Dense layers with dropout, and one output or one a class."""

    def __init__(self, params: Params, inputs: Inputs, classes: int = 0) -> None:
        super().__init__()
        self.tables, embedded = embeddings(inputs)
        width, dropout = int(params["width"]), float(params["dropout"])
        layers: list[nn.Module] = []
        before = inputs.width + embedded
        for _ in range(int(params["depth"])):
            layers += [nn.Linear(before, width), nn.ReLU(), nn.Dropout(dropout)]
            before = width
        self.layers = nn.Sequential(*layers, nn.Linear(before, classes or 1))
        self.classes = classes

    def forward(self, numbers: Tensor, codes: Tensor) -> Tensor:
        """Return the outputs of one member, shape (rows, 1) or (rows, 1, classes)."""
        embedded = [table(codes[:, at]) for at, table in enumerate(self.tables)]
        out: Tensor = self.layers(torch.cat([numbers, *embedded], dim=1))
        return out.unsqueeze(1) if self.classes else out


class TorchMlp(NetworkFamily):
    """Dense layers over standardised numbers and category embeddings."""

    name = "torch_mlp"

    def build(self, params: Params, inputs: Inputs, edges: Tensor | None, classes: int = 0) -> Network:
        """Make an untrained network."""
        return Mlp(params, inputs, classes)


FAMILY = TorchMlp()
