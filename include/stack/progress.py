"""The progress line of `make up` and `make down`: each part of the stack with its state."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

_SETTLED = {"healthy": "green", "stopped": "green", "current": "green"}


class PartsProgress:
    """One line that names each part and its state; where output is no terminal, one plain line for each change."""

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
        """Show that ``part`` is now in the state ``doing``, for example ``starting``."""
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
