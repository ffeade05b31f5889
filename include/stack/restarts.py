"""The record of restarts: which parts ended and were started again, and when the next try is due."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
# a part that ran this long was sound: its end is the first of a new series
STEADY_S = 600.0


@dataclass
class Restarts:
    """Restarts of one part since the supervisor began.

    Attributes:
        count: number of restarts.
        last: instant of the last restart, in seconds since the epoch; 0 before the first.
        series: restarts one shortly after the other; each doubles the pause before the next.
        due: instant of the next restart while the part is down; 0 while it runs.
    """

    count: int = 0
    last: float = 0.0
    series: int = 0
    due: float = 0.0

    def ended(self, now: float) -> None:
        """Note that the part does not run; the first time, set the instant of its restart."""
        if self.due:
            return
        if now - self.last > STEADY_S:
            self.series = 0
        self.due = now + min(FIRST_PAUSE_S * 2**self.series, LONGEST_PAUSE_S)

    def restarted(self, now: float) -> None:
        """Note a restart."""
        self.count, self.last, self.series, self.due = self.count + 1, now, self.series + 1, 0.0

    def __str__(self) -> str:
        if not self.count and not self.due:
            return ""
        said = f"{self.count}, last {_clock(self.last)}" if self.count else "0"
        return f"{said}, next {_clock(self.due)}" if self.due else said


def write_restarts(path: Path, found: dict[str, Restarts]) -> None:
    """Replace the record."""
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps({name: asdict(one) for name, one in found.items()}), encoding="utf-8")
    draft.replace(path)


def read_restarts(path: Path) -> dict[str, Restarts]:
    """Return the restarts by part; empty without a record."""
    try:
        return {name: Restarts(**one) for name, one in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _clock(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds):%H:%M:%S}"
