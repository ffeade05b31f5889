"""Words for messages that a person reads."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_FEW = 12


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a clause that helps after an unknown ``word``, to be appended to the message.

    The clause names the closest known word; without a close one it lists all, if they are few; else it is empty.
    """
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1)
    if close:
        return f'; did you mean "{close[0]}"?'
    return f"; known are {', '.join(names)}" if 0 < len(names) <= _FEW else ""
