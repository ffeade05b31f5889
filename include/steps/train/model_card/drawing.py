"""Small plots as SVG text: no plotting library to import, and the same data gives the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from math import floor, log10

INK, MUTED, GRID = "#1c2733", "#5b6b7b", "#e3e8ee"
COLOURS = ("#2468a8", "#c2571a", "#3c8d5a", "#8a4fa3", "#a08a12", "#5b6b7b")
_LEFT, _RIGHT, _TOP, _BOTTOM = 64.0, 16.0, 34.0, 46.0


@dataclass
class Plot:
    """A plot area with two linear axes; marks are added in data units.

    Attributes:
        x, y: lowest and highest value shown.
        left: room for the labels of the vertical axis, in pixels.
    """

    title: str
    x: tuple[float, float]
    y: tuple[float, float]
    x_label: str = ""
    y_label: str = ""
    width: float = 640.0
    height: float = 360.0
    left: float = _LEFT
    _marks: list[str] = field(default_factory=list)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a point lies, in pixels."""
        wide, tall = self.width - self.left - _RIGHT, self.height - _TOP - _BOTTOM
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1.0)
        up = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1.0)
        return self.left + across * wide, _TOP + (1 - up) * tall

    def line(
        self, points: Sequence[tuple[float, float]], colour: str, width: float = 2.0, dashed: bool = False
    ) -> None:
        """Straight pieces between points, in the order given."""
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in (self.at(x, y) for x, y in points))
        dash = ' stroke-dasharray="4 4"' if dashed else ""
        self._marks.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dash}/>')

    def dot(self, x: float, y: float, colour: str, says: str, radius: float = 4.0) -> None:
        """A point that says more under the pointer."""
        px, py = self.at(x, y)
        self._marks.append(
            f'<circle cx="{px:.1f}" cy="{py:.1f}" r="{radius}" fill="{colour}"><title>{escape(says)}</title></circle>'
        )

    def bar(self, row: float, value: float, colour: str, says: str, thickness: float = 0.7) -> None:
        """A horizontal bar from zero at height ``row``."""
        x0, y0 = self.at(0.0, row + thickness / 2)
        x1, y1 = self.at(value, row - thickness / 2)
        self._marks.append(
            f'<rect x="{min(x0, x1):.1f}" y="{y0:.1f}" width="{abs(x1 - x0):.1f}" height="{y1 - y0:.1f}" '
            f'fill="{colour}"><title>{escape(says)}</title></rect>'
        )

    def row_label(self, row: float, text: str) -> None:
        """A name at height ``row``, left of the plot."""
        _, py = self.at(self.x[0], row)
        self._marks.append(_text(self.left - 8, py + 4, text, anchor="end"))

    def legend(self, names: Sequence[tuple[str, str]]) -> None:
        """Names with their colours, on one line above the plot at the right."""
        at = self.width - _RIGHT
        for name, colour in reversed(list(names)):
            self._marks.append(_text(at, _TOP - 12, name, anchor="end"))
            at -= 7.0 * len(name) + 10
            self._marks.append(f'<circle cx="{at:.1f}" cy="{_TOP - 16:.1f}" r="4" fill="{colour}"/>')
            at -= 14

    def svg(self, says: str, y_ticks: bool = True) -> str:
        """The finished drawing; ``says`` describes it to those who cannot see it."""
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:g} {self.height:g}" '
            f'width="{self.width:g}" height="{self.height:g}" role="img" aria-label="{escape(says, quote=True)}" '
            'font-family="system-ui, sans-serif" font-size="12">',
            '<rect width="100%" height="100%" fill="#ffffff"/>',
            _text(8, 18, self.title, size=14, colour=INK),
            *self._grid(y_ticks),
            *self._marks,
            "</svg>",
        ]
        return "\n".join(parts) + "\n"

    def _grid(self, y_ticks: bool) -> list[str]:
        found = []
        for tick in ticks(*self.x):
            x, y0 = self.at(tick, self.y[0])
            found.append(_rule(x, y0, x, _TOP))
            found.append(_text(x, y0 + 16, f"{tick:g}", anchor="middle"))
        for tick in ticks(*self.y) if y_ticks else ():
            x0, y = self.at(self.x[0], tick)
            found.append(_rule(x0, y, self.width - _RIGHT, y))
            found.append(_text(x0 - 8, y + 4, f"{tick:g}", anchor="end"))
        middle = (self.left + self.width - _RIGHT) / 2
        found.append(_text(middle, self.height - 8, self.x_label, anchor="middle"))
        if self.y_label:
            centre = (_TOP + self.height - _BOTTOM) / 2
            turned = f' transform="rotate(-90 14 {centre:.1f})"'
            found.append(_text(14, centre, self.y_label, anchor="middle", more=turned))
        return found


def ticks(low: float, high: float) -> list[float]:
    """Round numbers between ``low`` and ``high``, about five."""
    if not high > low:
        return [low]
    raw = (high - low) / 5
    unit = 10.0 ** floor(log10(raw))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= raw * 0.999)
    first = floor(low / step + 0.999999)
    count = floor(high / step + 1e-6) - first + 1
    return [round((first + n) * step, 10) for n in range(max(count, 0))]


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, colour: str = MUTED, more: str = ""
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}"{more}>'
        f"{escape(text)}</text>"
    )


def _rule(x0: float, y0: float, x1: float, y1: float) -> str:
    return f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{GRID}"/>'
