"""The spec of scoring: whether predictions follow a base rate that moves."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from include.spec.values import Values


class RecalibrationSpec(Values):
    """How predictions are shifted by outcomes that lately became known.

    Attributes:
        kind: ``logit_offset`` adds one number to the log odds of every prediction of a partition.
        window_periods: newest periods with all but complete outcomes, as of the clock, that the offset is learnt from.
        min_rows: fewer known outcomes than this leave predictions as they are.
        shrink_periods: periods of perfect calibration that are mixed in: a few stormy days say little about the next.
        max_offset: largest shift of the log odds, either way.
    """

    kind: Literal["logit_offset"] = "logit_offset"
    window_periods: int = Field(default=14, ge=3, le=90)
    min_rows: int = Field(default=1000, ge=1)
    shrink_periods: float = Field(default=14.0, ge=0)
    max_offset: float = Field(default=1.5, gt=0, le=5)


class ScoringSpec(Values):
    """The scoring part of a use case."""

    recalibration: RecalibrationSpec | None = None
