"""The progress board of the demo: one row a DAG with its tasks by state, its partitions and its time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

_STYLES = {"done": "green", "running": "yellow", "waiting": "dim", "failed": "bold red"}


@dataclass
class Row:
    """One DAG on the board.

    Attributes:
        title: id of the DAG.
        total: number of DAG runs that the demo expects.
        done: number of DAG runs that have succeeded.
        detail: short text on the current tasks or partitions.
        state: ``waiting``, ``running``, ``done`` or ``failed``.
        began: monotonic clock at the start, in seconds; None while the row waits or after its end.
        seconds: time that the row has run so far.
    """

    title: str
    total: int = 1
    done: int = 0
    detail: str = ""
    state: str = "waiting"
    began: float | None = None
    seconds: float = 0.0

    def begin(self) -> None:
        """Start the row's clock."""
        self.state = "running"
        self.began = self.began or time.monotonic()

    def end(self, state: str, detail: str) -> None:
        """Stop the row's clock and set its last state."""
        self.tick()
        self.state, self.detail, self.began = state, detail, None

    def tick(self) -> None:
        """Update the row's time."""
        if self.began is not None:
            self.seconds = time.monotonic() - self.began


@dataclass
class Board:
    """The rows of the demo: redrawn in place on a terminal, one printed line for each change elsewhere."""

    console: Console
    rows: dict[str, Row] = field(default_factory=dict)
    _shown: dict[str, str] = field(default_factory=dict)
    _live: Live | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live = Live(console=self.console, refresh_per_second=4, get_renderable=self._table)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def add(self, title: str, total: int = 1) -> Row:
        """Add a row at the bottom and return it."""
        self.rows[title] = Row(title, total)
        return self.rows[title]

    def refresh(self) -> None:
        """Print the rows that have changed; does nothing on a terminal, where the board redraws itself."""
        if self._live is not None:
            return
        for row in self.rows.values():
            row.tick()
            line = f"{row.title:<18} {row.state:<8} {row.done}/{row.total}  {row.detail}"
            if self._shown.get(row.title) != line and row.state != "waiting":
                self._shown[row.title] = line
                self.console.print(f"{row.seconds:5.0f} s  {line}", highlight=False, markup=False, soft_wrap=True)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for row in self.rows.values():
            row.tick()
            bar = ProgressBar(total=row.total, completed=row.done, width=20)
            style = _STYLES[row.state]
            table.add_row(f"[{style}]{row.title}", bar, f"{row.done}/{row.total}", f"{row.seconds:.0f} s", row.detail)
        return table


def count_states(tasks: Iterable[dict[str, object]]) -> str:
    """Count tasks by name and state, in order of appearance: ``land success, search 2 running``."""
    counted: Counter[tuple[str, str]] = Counter()
    for task in tasks:
        counted[str(task["task_id"]), str(task["state"] or "waiting")] += 1
    words = [f"{name} {f'{count} ' if count > 1 else ''}{state}" for (name, state), count in counted.items()]
    return ", ".join(words)
