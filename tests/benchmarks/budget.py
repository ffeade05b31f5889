"""The time budget of `make bench`: which benchmarks still fit into it."""

from __future__ import annotations

import time
from collections.abc import Callable

MINUTES = 30.0
ABOUT_S = {
    "join": 183, "audit": 68, "transform": 70, "publish": 34, "materialize": 63, "sweep": 115, "score": 130,
    "drift": 112, "parse": 40, "torch_rows": 33, "start": 150, "chain": 73, "backfill": 355,
}  # fmt: skip
"""Estimated seconds of each benchmark at full scale on two quiet cores, making its data included."""


class Budget:
    """The time left for benchmarks, and whether the next one would end within it.

    Args:
        minutes: time limit of all benchmarks; None for no limit.
        about: estimated seconds of each benchmark. The budget scales the estimates by the pace of the benchmarks that
            have ended on this machine.
        now: a clock, in seconds.
    """

    def __init__(
        self, minutes: float | None, about: dict[str, int] = ABOUT_S, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = None if minutes is None else minutes * 60
        self._about, self._now, self._began = about, now, now()
        self._expected = 0.0

    @property
    def elapsed(self) -> float:
        """Return the seconds since the start."""
        return self._now() - self._began

    def expects(self, name: str) -> float:
        """Estimate the seconds of ``name`` at the pace of the benchmarks before it."""
        return self._about[name] * (self.elapsed / self._expected if self._expected else 1.0)

    def allows(self, name: str) -> bool:
        """Tell whether ``name`` would end in time."""
        return self._limit is None or self.elapsed + self.expects(name) <= self._limit

    def ended(self, name: str) -> None:
        """Count ``name`` as measured, for the pace."""
        self._expected += self._about[name]
