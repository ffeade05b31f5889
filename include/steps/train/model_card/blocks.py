"""What a card is made of, whatever it is shown as."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """One paragraph."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows of cells; the first row names the columns."""

    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Listing:
    """Short statements, one an item."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Command:
    """Lines for a shell."""

    text: str


@dataclass(frozen=True)
class Picture:
    """A drawing; ``says`` is what somebody who cannot see it should know."""

    name: str
    says: str
    svg: str

    @property
    def file(self) -> str:
        """Name of its file beside the card."""
        return f"{self.name}.svg"


Block = Text | Table | Listing | Command | Picture


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: tuple[Block, ...]

    @property
    def pictures(self) -> tuple[Picture, ...]:
        return tuple(block for block in self.blocks if isinstance(block, Picture))
