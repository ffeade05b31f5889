"""What a use case may choose about promotion."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from include.training.catalog import METRICS, nearest


class Bound(BaseModel):
    """Accepted values of a metric, both ends included."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        return self

    def accepts(self, value: float) -> bool:
        """Whether ``value`` lies within."""
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)


class GateSpec(BaseModel):
    """When a challenger may become champion.

    Attributes:
        metric: the primary metric; the challenger must better the champion in it.
        min_days: whole test days below which nothing is promoted over a champion.
        guardrails: further metrics and the values a challenger must keep to.
        resamples, seed: of the day-block bootstrap.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str = "log_loss"
    min_days: int = Field(default=7, ge=2)
    guardrails: dict[str, Bound] = {}
    resamples: int = Field(default=2000, ge=100)
    seed: int = Field(default=0, ge=0)

    @field_validator("metric")
    @classmethod
    def _metric_is_known(cls, name: str) -> str:
        if name not in METRICS:
            raise ValueError(f'metric "{name}" unknown; {nearest(name, METRICS)}')
        return name

    @field_validator("guardrails")
    @classmethod
    def _guardrails_are_known(cls, guardrails: dict[str, Bound]) -> dict[str, Bound]:
        unknown = [f'metric "{name}" unknown; {nearest(name, METRICS)}' for name in guardrails if name not in METRICS]
        if unknown:
            raise ValueError("; ".join(unknown))
        return guardrails
