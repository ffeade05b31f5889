"""Show what each part of the stack does while one waits."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

_SETTLED = {"healthy": "green", "stopped": "green", "current": "green"}


class PartsProgress:
    """A line that names each part and its state; plain lines, one a change, where output is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._parts: dict[str, str] = {}
        self._live = Live(console=console, refresh_per_second=8, get_renderable=self._line, transient=True)

    def __enter__(self) -> PartsProgress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def report(self, part: str, doing: str) -> None:
        """Note that ``part`` is ``doing`` something now."""
        self._parts[part] = doing
        if not self._console.is_terminal:
            seconds = time.monotonic() - self._began
            self._console.print(f"{seconds:5.1f} s  {part:<14} {doing}", highlight=False)

    def _line(self) -> Text:
        text = Text(f"{time.monotonic() - self._began:3.0f} s ")
        for part, doing in self._parts.items():
            text.append(f" {part} ")
            text.append(doing, style=_SETTLED.get(doing, "yellow"))
        return text
