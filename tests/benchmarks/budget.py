"""What fits into the time that a run of every benchmark may take."""

from __future__ import annotations

import time
from collections.abc import Callable

MINUTES = 30.0
ABOUT_S = {
    "join": 183, "audit": 68, "transform": 70, "publish": 34, "materialize": 63, "sweep": 115, "score": 58,
    "drift": 112, "parse": 40, "torch_rows": 33, "start": 150, "chain": 73, "backfill": 355,
}  # fmt: skip
"""Estimates: seconds of each at full scale on two quiet cores, the making of its data among them."""


class Budget:
    """Says which of the benchmarks to come would still end in time.

    Args:
        minutes: how long all of them may take; None: as long as it takes.
        about: seconds that each is expected to take. How much longer or shorter those before it took tells
            how this machine compares.
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
        """Seconds since it was made."""
        return self._now() - self._began

    def expects(self, name: str) -> float:
        """Seconds that ``name`` would take at the pace of those before it."""
        return self._about[name] * (self.elapsed / self._expected if self._expected else 1.0)

    def allows(self, name: str) -> bool:
        """Whether ``name`` would end in time."""
        return self._limit is None or self.elapsed + self.expects(name) <= self._limit

    def ended(self, name: str) -> None:
        """Count ``name`` among those that were measured."""
        self._expected += self._about[name]
