"""Model cards: purpose, data, figures and weaknesses of a challenger, and the commands that rebuild it.

``write`` makes one folder with the card as a self-contained HTML page and as Markdown, and with its pictures. Only this
package knows how a card looks; it may import everything that a step may.
"""

from __future__ import annotations

from pathlib import Path

from include.registry.artifacts import CARD_FOLDER as FOLDER
from include.registry.artifacts import CARD_HTML as HTML
from include.registry.artifacts import CARD_MARKDOWN as MARKDOWN
from include.registry.registration import Challenger
from include.steps.train.model_card.content import sections
from include.steps.train.model_card.pages import html_page, markdown_page
from include.steps.workspace import Workspace

__all__ = ["FOLDER", "HTML", "MARKDOWN", "write"]


def write(workspace: Workspace, challenger: Challenger, folder: Path) -> Path:
    """Write the card of ``challenger`` into ``folder``; equal models give equal bytes on every machine."""
    title = f"{workspace.case.title}: {challenger.params['family']} trained through {challenger.trained_through}"
    made = sections(workspace, challenger)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / HTML).write_text(html_page(title, made), encoding="utf-8")
    (folder / MARKDOWN).write_text(markdown_page(title, made), encoding="utf-8")
    for section in made:
        for picture in section.pictures:
            (folder / picture.file).write_text(picture.svg, encoding="utf-8")
    return folder
