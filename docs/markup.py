"""Small pieces of Markdown that the reference pages are made of."""

from __future__ import annotations

import html
import re

KINDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true` or `false`"}
BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "minItems": "at least {}",
    "minProperties": "at least {}",
    "pattern": "like `{}`",
}


def plain(text: str) -> str:
    """Turn reStructuredText's marks into Markdown's."""
    text = re.sub(r":[a-z]+:`([^`]*)`", r"`\1`", text).replace("``", "`")
    return re.sub(r"\n(?!\n)", " ", text) if "\n\n" not in text else text


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    return f"<code>{html.escape(text)}</code>".replace("|", "&#124;") if text else ""
