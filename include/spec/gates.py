"""The spec of promotion: the primary metric, and the limits that a challenger must keep to."""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator

from include.core.words import nearest
from include.spec.families import METRICS
from include.spec.values import Values


class Bound(Values):
    """Accepted values of a figure, both ends included."""

    min: float | None = Field(default=None, description="least accepted value")
    max: float | None = Field(default=None, description="largest accepted value")

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        if self.min is not None and self.max is not None and self.max < self.min:
            raise ValueError(f"max ({self.max}) lies below min ({self.min}): nothing could be accepted")
        return self

    def accepts(self, value: float) -> bool:
        """Return whether ``value`` lies within the bounds; NaN never does."""
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)


class SliceGate(Values):
    """Limits that every sufficiently large slice of one column must keep to.

    Attributes:
        metric: the figure that is taken of each slice.
        accept: bounds of that figure; left out, any will do.
        worse_by: how much worse than the champion's it may be, in the metric's own unit; left out, any.
        min_rows, min_blocks: a slice with fewer test rows or blocks is shown but not judged.
    """

    metric: str = "log_loss"
    accept: Bound | None = None
    worse_by: float | None = Field(default=None, ge=0)
    min_rows: int = Field(default=500, ge=1)
    min_blocks: int = Field(default=7, ge=1)

    @field_validator("metric")
    @classmethod
    def _metric_is_known(cls, name: str) -> str:
        return known_metric(name)

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if self.accept is None and self.worse_by is None:
            raise ValueError("give accept, worse_by or both")
        return self


class CostGate(Values):
    """Limits of what loading and scoring cost, measured in a fresh process.

    Attributes:
        microseconds_per_row: wall time of one prediction in a batch.
        megabytes: size of the model's files.
    """

    microseconds_per_row: float | None = Field(default=None, gt=0)
    megabytes: float | None = Field(default=None, gt=0)


class GateSpec(Values):
    """The conditions under which a challenger may become champion.

    Attributes:
        metric: the primary metric; the challenger must better the champion in it.
        min_blocks: test blocks below which nothing is promoted over a champion. A block is what is resampled whole: a
            day of an hourly use case, else a period.
        guardrails: further metrics over all test rows, and the values a challenger must keep to.
        slices: by column, what each of its values must keep to.
        cost: what scoring may take.
        baselines_waived: why the first champion need not be better than every baseline of the training, in words that
            its evidence repeats. Left out, it must: the interval of its difference excludes zero.
        feature_auc: the area under the ROC curve from which one feature alone, or its being null, counts as
            knowing the answer; null switches the probe off.
        approval_hours: how long a person may take to answer, where one is asked; no answer is a no.
        resamples, seed: of the block bootstrap.
    """

    metric: str = "log_loss"
    min_blocks: int = Field(default=7, ge=2)
    guardrails: dict[str, Bound] = {}
    slices: dict[str, SliceGate] = {}
    cost: CostGate = CostGate()
    feature_auc: float | None = Field(default=0.8, gt=0.5, le=1)
    baselines_waived: str | None = Field(default=None, min_length=1)
    approval_hours: float = Field(default=72, gt=0, le=24 * 90)
    resamples: int = Field(default=2000, ge=100)
    seed: int = Field(default=0, ge=0)

    @field_validator("metric")
    @classmethod
    def _metric_is_known(cls, name: str) -> str:
        return known_metric(name)

    @field_validator("guardrails")
    @classmethod
    def _guardrails_are_known(cls, guardrails: dict[str, Bound]) -> dict[str, Bound]:
        unknown = [_unknown(name) for name in guardrails if name not in METRICS]
        if unknown:
            raise ValueError("; ".join(unknown))
        return guardrails

    def metrics(self) -> set[str]:
        """Return the name of every metric that the gates look at."""
        return {self.metric, *self.guardrails, *(gate.metric for gate in self.slices.values())}


def known_metric(name: str) -> str:
    """Return ``name`` if it names a metric.

    Raises:
        ValueError: it does not; names the nearest metric.
    """
    if name not in METRICS:
        raise ValueError(_unknown(name))
    return name


def _unknown(name: str) -> str:
    return f'metric "{name}" unknown{nearest(name, METRICS)}'
