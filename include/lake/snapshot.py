"""Delta tables as they are at one moment: whoever reads a table twice reads the same version."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from deltalake import DeltaTable

_Opened = dict[tuple[str, int | None], DeltaTable]

_held: ContextVar[_Opened | None] = ContextVar("held", default=None)


@contextmanager
def held() -> Iterator[None]:
    """Within the block each table stays at the version at which it was first opened.

    What a run records about its inputs is then what it has read, though somebody may publish meanwhile; and a
    log is read once, not at each question. A block that publishes would not see what it has published.
    """
    if _held.get() is not None:
        yield
        return
    token = _held.set({})
    try:
        yield
    finally:
        _held.reset(token)


def open_table(uri: str, version: int | None = None) -> DeltaTable:
    """The table at ``uri``, at ``version`` or the newest: the newest of this moment, where one is held.

    Raises:
        TableNotFoundError: there is no Delta table, or not that version of it.
    """
    opened = _held.get()
    if opened is not None and (uri, version) in opened:
        return opened[uri, version]
    table = DeltaTable(uri, version=version)
    if opened is not None:
        opened[uri, version] = opened[uri, table.version()] = table
    return table
