"""A card as HTML that needs nothing beside it, and as Markdown with its pictures beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from include.core.templates import render
from include.steps.train.model_card.blocks import Section

_TEMPLATES = Path(__file__).parent / "templates"


def html_page(title: str, sections: Sequence[Section]) -> str:
    """Return the whole page; it loads nothing and allows no script, whatever the data contains."""
    return render(_TEMPLATES, "card.html.j2", title=title, sections=sections)


def markdown_page(title: str, sections: Sequence[Section]) -> str:
    """Return the card for places that show Markdown; its pictures are files beside it."""
    return render(_TEMPLATES, "card.md.j2", title=title, sections=sections)
