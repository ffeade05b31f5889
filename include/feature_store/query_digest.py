"""Digests of a use case's queries: equal for equal definitions, whatever their comments and layout.

A digest names the definition that rows were computed by. It holds the words of the query and of the intermediates
that it reads, and the values of the spec that the query depends on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlglot
from sqlglot.errors import TokenError

if TYPE_CHECKING:
    from include.spec.use_case import UseCase

_DIGITS = 12
_QUOTED = {"STRING": "'", "IDENTIFIER": '"', "HEREDOC_STRING": "$"}


def of_view(case: UseCase, view: str) -> str:
    """Return the digest of a feature view: its query, the intermediates, its keys, look-back and time zone."""
    folder = case.assets_folder / "sql" / "features"
    read = _words(folder / f"{view}.sql")
    parts, waiting = [read], [*read]
    # DuckDB finds a table by its name in any case, with and without quotes
    shared = {path.stem.casefold(): path for path in folder.glob("_*.sql")}
    while waiting:
        path = shared.pop(waiting.pop().strip('"').casefold(), None)
        if path is not None:
            more = _words(path)
            parts.append([path.stem, *more])
            waiting += more
    return _digest([sorted(parts), case.features.views[view], case.features.lookback_periods, case.time_zone])


def of_labels(case: UseCase) -> str:
    """Return the digest of the label: its query, its name, and its delay."""
    words = _words(case.assets_folder / "sql" / "training" / "labels.sql")
    return _digest([words, case.training.label, case.label_delay_periods, case.time_zone])


def of_entities(case: UseCase) -> str:
    """Return the digest of the rows to predict and of the features that they bring along."""
    return _digest([_words(case.assets_folder / "sql" / "training" / "entities.sql"), case.time_zone])


def combined(parts: Mapping[str, str]) -> str:
    """Return one digest for several, by name."""
    return _digest(sorted(parts.items()))


def _words(path: Path) -> list[str]:
    """Return the words of a query without comments and layout; a name without quotes is the same in any case."""
    text = path.read_text(encoding="utf-8").rstrip().rstrip(";")
    try:
        return [_word(token) for token in sqlglot.tokenize(text, read="duckdb")]
    except TokenError:  # a literal that only DuckDB knows: then layout counts
        return text.split()


def _word(token: Any) -> str:
    quote = _QUOTED.get(token.token_type.name)
    return token.text.casefold() if quote is None else f"{quote}{token.text}{quote}"


def _digest(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:_DIGITS]
