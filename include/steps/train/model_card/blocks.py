"""The parts of a card, independent of the page that shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Text:
    """One paragraph."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Table:
    """Rows of cells; the first row names the columns, the first cell of each further row names the row."""

    kind: ClassVar[str] = "table"
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Listing:
    """Short statements, shown as a list."""

    kind: ClassVar[str] = "listing"
    statements: tuple[str, ...]


@dataclass(frozen=True)
class Command:
    """Lines for a shell."""

    kind: ClassVar[str] = "command"
    text: str


@dataclass(frozen=True)
class Picture:
    """A drawing; ``says`` describes it to people who cannot see it."""

    kind: ClassVar[str] = "picture"
    name: str
    says: str
    svg: str

    @property
    def file(self) -> str:
        """Name of the picture's file beside the card."""
        return f"{self.name}.svg"


Block = Text | Table | Listing | Command | Picture


@dataclass(frozen=True)
class Section:
    """A heading and the blocks under it."""

    title: str
    blocks: tuple[Block, ...]

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """Return the section's pictures, in order."""
        return tuple(block for block in self.blocks if isinstance(block, Picture))
