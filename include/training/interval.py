"""Records of a figure with its uncertainty, as models and evidence store them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Interval(BaseModel):
    """A value with its 95 % interval.

    ``low`` and ``high`` are None where blocks cannot be resampled (a single one) and ``value`` is None
    where the metric is undefined. ``days`` (blocks: days, or longer periods) and ``rows`` count the data behind the
    value.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: float | None
    low: float | None
    high: float | None
    days: int
    rows: int


class Difference(Interval):
    """Candidate minus other on the same resampled blocks.

    ``better`` and ``worse`` hold only when the interval excludes zero.
    """

    better: bool
    worse: bool
