"""A card as HTML that needs nothing beside it, and as Markdown with its pictures beside it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from include.promotion import evidence_page
from include.steps.train.model_card.blocks import Block, Command, Listing, Picture, Section, Table, Text

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2733; background: #fff; max-width: 60rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; border-bottom: 1px solid #d5dce3; }
table { border-collapse: collapse; display: block; overflow-x: auto; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #e6ebf0; vertical-align: top; }
pre { background: #f3f6f9; padding: .7rem; overflow-x: auto; } svg { max-width: 100%; height: auto; }
"""


def html_page(title: str, sections: Sequence[Section]) -> str:
    """The whole page; it loads nothing, and runs no script even if a name in the data were one."""
    body = "\n".join(
        f"<h2>{escape(section.title)}</h2>\n" + "\n".join(_html(block) for block in section.blocks)
        for section in sections
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<h1>{escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def _html(block: Block) -> str:
    match block:
        case Text(text):
            return f"<p>{escape(text)}</p>"
        case Listing(items):
            return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>"
        case Command(text):
            return f"<pre>{escape(text)}</pre>"
        case Picture(_, _, svg):
            return f"<figure>{svg}</figure>"
        case Table(rows):
            head, *body = rows
            return f"<table>{_html_row(head, 'th')}{''.join(_html_row(row, 'td') for row in body)}</table>"


def _html_row(cells: Sequence[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"


def markdown_page(title: str, sections: Sequence[Section]) -> str:
    """The card for places that show Markdown; pictures are files beside it."""
    parts = [f"# {evidence_page.escape(title)}"]
    for section in sections:
        parts.append(f"## {evidence_page.escape(section.title)}")
        parts += [_markdown(block) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def _markdown(block: Block) -> str:
    match block:
        case Text(text):
            return evidence_page.escape(text)
        case Listing(items):
            return "\n".join(f"- {evidence_page.escape(item)}" for item in items)
        case Command(text):
            # a fence longer than any run of backticks inside: the text cannot end it
            return f"``````sh\n{text}\n``````"
        case Picture() as picture:
            return f"![{evidence_page.escape(picture.says)}]({picture.file})"
        case Table(rows):
            return evidence_page.table(rows)
