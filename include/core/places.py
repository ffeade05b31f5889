"""Folders and addresses that every part of the project reads alike."""

from __future__ import annotations

import re
from pathlib import Path

# DuckDB reads * ? [ as patterns; Delta decodes %20 and takes \ for /; pg_ctl and Airflow hand " $ ` to a shell
_UNFIT = re.compile(r"[*?\[\"$`\\\x00-\x1f\x7f]|%[0-9A-Fa-f]{2}")
_ADDRESS = re.compile(r"[a-z][a-z0-9]*://[A-Za-z0-9._-]+(/[A-Za-z0-9._=-]+)*")


def place(text: str) -> str:
    """Return a folder, or an address such as ``s3://bucket/lake``, as all parts read it: ``~`` is the user's home.

    Raises:
        ValueError: parts would read it differently, and write beside it; says what to give.
    """
    return _address(text.rstrip("/")) if "://" in text else str(folder(text))


def folder(text: str | Path) -> Path:
    """Return the absolute folder that ``text`` names; ``~`` is the user's home.

    Raises:
        ValueError: it is relative, or parts would read it differently; says what to give.
    """
    unfit = _UNFIT.search(str(text))
    if unfit is not None:
        raise ValueError(
            f"{unfit.group()!r} in a folder's name has another meaning to some programs; use another folder"
        )
    try:
        found = Path(text).expanduser()
    except RuntimeError:
        raise ValueError("no user of that name has a home; give the whole path") from None
    if not found.is_absolute():
        raise ValueError("processes run in different folders; give the whole path, from / on")
    return found


def _address(text: str) -> str:
    if not _ADDRESS.fullmatch(text) or {".", ".."} & set(text.split("/")):
        raise ValueError("programs write other characters differently; use letters, digits and - _ . = between the /")
    return text
