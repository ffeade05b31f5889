"""The last step of a network, by task: what it is told, its loss, and what its outputs predict.

A network gives outputs of shape (rows, members), or (rows, members, classes). Members learn for themselves, and their
predictions are averaged.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from include.training.data import Floats
from include.training.families.base import as_floats
from include.training.imbalance import focal_inverse


@dataclass(frozen=True)
class Head(ABC):
    """What differs between tasks.

    Attributes:
        centre, scale: standardise the label of a regression.
        focal: exponent of the focal loss; None for the plain one.
        classes: outputs of each member; 0 for a single number.
    """

    centre: float = 0.0
    scale: float = 1.0
    focal: float | None = None
    classes: int = 0

    @classmethod
    def learn(cls, y: Floats, focal: float | None, classes: int) -> Self:
        """Return the head for the train labels ``y``."""
        return cls(focal=focal, classes=classes)

    @abstractmethod
    def target(self, y: Floats) -> Tensor:
        """Return labels as the loss reads them, shape (rows,)."""

    @abstractmethod
    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the loss of each row and member, shape (rows, members)."""

    @abstractmethod
    def shares(self, outputs: Tensor) -> Tensor:
        """Return the mean prediction over members, shape (rows,) or (rows, classes)."""

    @abstractmethod
    def predictions(self, shares: Floats) -> Floats:
        """Return predictions in the unit of the label."""


class BinaryHead(Head):
    """Log odds of one class."""

    def target(self, y: Floats) -> Tensor:
        """Return 0 or 1."""
        return torch.from_numpy(y.astype(np.float32))

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the cross entropy, with ``focal`` less of rows that are predicted well."""
        losses = F.binary_cross_entropy_with_logits(outputs, y.unsqueeze(1).expand_as(outputs), reduction="none")
        if self.focal is not None:
            # exp(-loss) is the predicted probability of the true label
            losses = (1 - torch.exp(-losses)) ** self.focal * losses
        return losses

    def shares(self, outputs: Tensor) -> Tensor:
        """Return the mean probability."""
        return torch.sigmoid(outputs).mean(dim=1)

    def predictions(self, shares: Floats) -> Floats:
        """Return probabilities of 1."""
        return shares if self.focal is None else focal_inverse(shares, self.focal)


class RegressionHead(Head):
    """A standardised number."""

    @classmethod
    def learn(cls, y: Floats, focal: float | None, classes: int) -> Self:
        """Return the head with mean and deviation of the train labels."""
        return cls(float(y.mean()), float(y.std()) or 1.0)

    def target(self, y: Floats) -> Tensor:
        """Return deviations from the mean."""
        return torch.from_numpy(((y - self.centre) / self.scale).astype(np.float32))

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return squared errors."""
        return F.mse_loss(outputs, y.unsqueeze(1).expand_as(outputs), reduction="none")

    def shares(self, outputs: Tensor) -> Tensor:
        """Return the mean over members."""
        return outputs.mean(dim=1)

    def predictions(self, shares: Floats) -> Floats:
        """Return values in the label's unit."""
        return as_floats(shares * self.scale + self.centre)


class MulticlassHead(Head):
    """One score a class."""

    def target(self, y: Floats) -> Tensor:
        """Return positions of classes."""
        return torch.from_numpy(y.astype(np.int64))

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the cross entropy."""
        members = outputs.shape[1]
        return F.cross_entropy(
            outputs.flatten(0, 1), y.repeat_interleave(members), reduction="none"
        ).reshape(-1, members)  # fmt: skip

    def shares(self, outputs: Tensor) -> Tensor:
        """Return mean probabilities."""
        return torch.softmax(outputs, dim=2).mean(dim=1)

    def predictions(self, shares: Floats) -> Floats:
        """Return probabilities that add up to 1 in float64 too."""
        return as_floats(shares / shares.sum(axis=1, keepdims=True))


_HEADS: dict[str, type[Head]] = {"binary": BinaryHead, "regression": RegressionHead, "multiclass": MulticlassHead}


def learn(task: str, y: Floats, focal: float | None, classes: int) -> Head:
    """Return the head of ``task`` for the train labels ``y``."""
    return _HEADS[task].learn(y, focal, classes)


def of_json(about: dict[str, Any]) -> Head:
    """Return the head that :func:`as_json` described; models from before there were classes name none."""
    return _HEADS[about["task"]](about["centre"], about["scale"], about["focal"], about.get("classes", 0))


def as_json(task: str, head: Head) -> dict[str, Any]:
    """Return a head as plain values."""
    return {"task": task, **vars(head)}
