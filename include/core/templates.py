"""Jinja2 pages: HTML with every value escaped, Markdown through the filter ``md``.

A module keeps its templates in the folder ``templates`` beside it. Names end in ``.html.j2`` or ``.md.j2``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

_MARKDOWN = str.maketrans({character: f"\\{character}" for character in "\\`*_[]<>|#"})
_FIGURE = re.compile(r"[-+]?[\d.,]+(e[-+]?\d+)?( %)?( \[[-+\d.,]+, [-+\d.,]+\])?")
_OF_ADDRESSES = ":/?#@!$&'+,;=%~"


def render(folder: Path, name: str, **values: Any) -> str:
    """Render the template ``name`` of ``folder``.

    Raises:
        jinja2.UndefinedError: the template uses a value that was not given.
    """
    return _environment(folder).get_template(name).render(values)


def escape_markdown(text: object) -> str:
    """Return ``text`` on one line, escaped for Markdown: it cannot become a table cell, a link or a tag."""
    return " ".join(str(text).translate(_MARKDOWN).split())


def markdown_table(rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table of escaped cells; the first row names the columns."""
    head, *body = ([escape_markdown(cell) for cell in row] for row in rows)
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escape_address(text: object) -> str:
    """Return an address in which spaces, brackets and quotes are percent-encoded, so that it stays one address."""
    return quote(str(text), safe=_OF_ADDRESSES)


@cache
def _environment(folder: Path) -> Environment:
    # one environment a process and folder: it caches the compiled templates
    environment = Environment(
        loader=FileSystemLoader(folder),
        # Markdown is escaped by the filter instead: HTML's entities would show in a code block
        autoescape=select_autoescape(enabled_extensions=("html.j2",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"md": escape_markdown, "md_table": markdown_table, "address": escape_address}
    environment.tests["figure"] = lambda text: _FIGURE.fullmatch(text) is not None
    return environment
