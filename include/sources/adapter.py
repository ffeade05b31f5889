"""The interface between a use case's source adapter and the ingest step.

An adapter takes the place of an upstream system's API or drop folder: it knows where the data comes
from and *when each row could first be known*. It knows nothing of the lake, of audits or of Airflow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import duckdb

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
