"""Plots by matplotlib as accessible SVG: equal data gives equal bytes, and text from the data stays text.

Text is kept as text (not as outlines), so that a picture stays small, can be searched and is read aloud.
"""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from include.steps.train.model_card.blocks import Picture

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, RULE, GRID = "#1c2733", "#5b6b7b", "#c3ccd6", "#e8edf2"
COLOURS = ("#2468a8", "#c2571a", "#3c8d5a", "#8a4fa3", "#a08a12", "#5b6b7b")
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_BOTTOM = 0.55  # inches for the horizontal axis
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a `$` in a name from the data is a dollar
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine lays the text out alike
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.labelpad": 7,
    "axes.edgecolor": RULE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.major.pad": 6,
    "ytick.major.pad": 6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.labelcolor": MUTED,
    "lines.solid_capstyle": "round",
}


@dataclass
class Plot:
    """A figure with one pair of axes.

    Attributes:
        name: name of the picture; its file is called so.
    """

    name: str
    title: str
    figure: Figure
    axes: Axes
    _hints: dict[str, str] = field(default_factory=dict)

    def hint(self, artist: Artist, text: str) -> None:
        """Show ``text`` while the pointer is over ``artist``."""
        key = f"{self.name}-{len(self._hints)}"
        artist.set_gid(key)
        self._hints[key] = text

    def rows(self, names: list[str]) -> None:
        """Make the vertical axis a list of names, the first on top."""
        self.axes.set_yticks(range(len(names)), [short(name) for name in names])
        self.axes.tick_params(axis="y", labelcolor=INK)
        self.axes.set_ylim(len(names) - 0.4, -0.6)
        self.axes.grid(visible=False, axis="y")
        self.axes.spines["left"].set_visible(False)

    def legend(self, **more: Any) -> None:
        """Write the legend above the plot, in one line that begins at its left edge."""
        self.axes.legend(
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=6,
            borderpad=0.2,
            borderaxespad=0.2,
            handlelength=1.4,
            **more,
        )

    def picture(self, says: str) -> Picture:
        """Return the finished picture; ``says`` describes it to people who cannot see it."""
        written = io.StringIO()
        self.figure.savefig(written, format="svg", metadata=_NO_METADATA)
        return Picture(self.name, says, _accessible(written.getvalue(), self.title, says, self._hints))


@contextmanager
def plot(
    name: str, title: str, width: float, height: float, left: float = 0.75, right: float = 0.15, top: float = 0.62
) -> Iterator[Plot]:
    """Open a plot; finish it inside the block.

    ``width`` and ``height`` are those of the axes in inches; ``left``, ``right`` and ``top`` are the room
    around them (at the top for the title and a legend).
    Matplotlib's process-wide settings are ours inside the block and restored after it.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        # a matplotlibrc on this machine must not change the picture
        matplotlib.rcdefaults()
        # the salt makes the generated ids repeatable; the name keeps them apart on a page with several pictures
        matplotlib.rcParams.update({**_STYLE, "svg.hashsalt": name})
        whole, tall = left + width + right, top + height + _BOTTOM
        figure = Figure(figsize=(whole, tall))
        # fixed margins: a layout engine draws every picture twice
        axes = figure.add_axes((left / whole, _BOTTOM / tall, width / whole, height / tall))
        figure.text(0.0, 1.0 - 0.05 / tall, title, ha="left", va="top", fontsize=11, fontweight="bold")
        yield Plot(name, title, figure, axes)


def short(name: str) -> str:
    """Return ``name`` cut to 28 characters."""
    return name if len(name) <= 28 else f"{name[:27]}…"


def _accessible(svg: str, title: str, says: str, hints: dict[str, str]) -> str:
    """Return the SVG element alone, described, and without what could disturb a page around it."""
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _XLINK)
    root = ET.fromstring(_NOT_IN_XML.sub("?", svg))  # noqa: S314  (matplotlib wrote it a moment ago)
    for parent in list(root.iter()):
        for child in list(parent):
            # matplotlib's style sheet names `*`: inside a page it would change the page
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
    for element in root.iter():
        hint = hints.get(element.get("id", ""))
        if hint is not None:
            _first(element, "title", hint)
    _drop_unused_ids(root)
    root.attrib |= {
        "role": "img",
        "aria-label": _NOT_IN_XML.sub("?", says),
        "stroke-linejoin": "round",
        "stroke-linecap": "butt",
    }
    _first(root, "desc", says)
    _first(root, "title", title)
    return f"{ET.tostring(root, encoding='unicode')}\n"


def _first(parent: ET.Element, tag: str, text: str) -> None:
    made = ET.Element(f"{{{_SVG}}}{tag}")
    made.text = _NOT_IN_XML.sub("?", text)
    parent.insert(0, made)


def _drop_unused_ids(root: ET.Element) -> None:
    """Remove ids that nothing refers to: every picture has a ``figure_1``, and an id may occur once a page."""
    used = {
        found
        for element in root.iter()
        for name, value in element.items()
        for found in re.findall(r"url\(#([^)]+)\)" if name != f"{{{_XLINK}}}href" else r"^#(.+)$", value)
    }
    for element in root.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)
