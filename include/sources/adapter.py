"""The interface between a use case's source adapter and the ingest step.

An adapter takes the place of an upstream system's API or drop folder: it knows where the data comes
from and *when each row could first be known*. It knows nothing of the lake, of audits or of Airflow.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from include.core import modules
from include.core.errors import SpecError
from include.core.words import nearest

if TYPE_CHECKING:
    import duckdb

    from include.spec.use_case import UseCase

REFERENCE = "reference"
"""The one partition of a table that does not change from day to day."""


@runtime_checkable
class SourceAdapter(Protocol):
    """A source of raw tables, delivered partition by partition, faults included."""

    def deliver(self, con: duckdb.DuckDBPyConnection, first: str, last: str) -> dict[str, str]:
        """Return one query for each raw table, which covers the partitions ``first``..``last`` in one pass.

        Every query stands alone (it may be run later, and several times, on ``con``), orders its rows
        by their key, and has a column ``ds`` that names the partition of the row: a key in the asked
        range, or ``reference``. A row is in the partition whose window ``[clock(D-1), clock(D))``
        holds the instant at which the row could first be known. A partition with no rows is
        legitimate: the caller's audit decides.

        Raises:
            UnknownPartition: a key is malformed, or the range leaves the source's history.
            SourceError: an upstream file is missing, truncated, or not of the promised shape; names
                the file, the column where there is one, and the remedy.
        """
        ...


def open_adapter(case: UseCase, cache: str) -> SourceAdapter:
    """Import the adapter that the spec names, and make it with the folder ``cache`` and the options of the spec.

    Raises:
        SpecError: there is no such module or class, it is no adapter, or it takes other options.
    """
    module, name = case.source.adapter.split(":")
    found = vars(modules.of_use_case(case.assets_folder, module, f"{case.name}: source.adapter"))
    made: Any = found.get(name)
    if not inspect.isclass(made):
        classes = [other for other, value in found.items() if inspect.isclass(value)]
        raise SpecError([f"{case.name}: source.adapter: {module} has no class {name!r}{nearest(name, classes)}"])
    # before it is made: making a class may already write a file or start a program
    if not issubclass(made, SourceAdapter):
        raise SpecError(
            [f"{case.name}: source.adapter: {module}:{name} is no source adapter; it has no method deliver"]
        )
    taken = inspect.signature(made).replace(return_annotation=inspect.Signature.empty)
    try:
        taken.bind(cache, **case.source.options)
    except TypeError as error:
        raise SpecError([f"{case.name}: source.options do not fit {name}{taken}: {error}"]) from None
    return made(cache, **case.source.options)  # type: ignore[call-arg]
