"""The columns of a table: those that it was created with, and those that a later publish added.

A publish may bring columns that its table lacks. They are added to the table in the same commit, and older partitions
read null for them. Files and fingerprints of older partitions stay as they are: a fingerprint covers the columns that
were published. An added column is marked in the table's schema, so that a reader knows which columns a file may lack.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, Field, Schema

from include.core.errors import SchemaMismatch
from include.lake import column_types
from include.lake.records import Record
from include.lake.staging import Stage

_MARK = "lifecycle.added"
"""Key in the metadata of a field of the table's schema."""


def added(delta: DeltaTable) -> tuple[str, ...]:
    """Return the columns that were added after the table was created: those that a file may lack."""
    return tuple(field.name for field in delta.schema().fields if _MARK in field.metadata)


def in_files(schema: Schema, later: Sequence[pa.Field] = ()) -> dict[str, str] | None:
    """Return the DuckDB type of each column that a table's files hold; ``None`` if all files have all columns.

    ``later`` are columns of a later version of the table, which no file of this one has.
    """
    if not later and not any(_MARK in field.metadata for field in schema.fields):
        return None
    types = column_types.in_duckdb(pa.schema([*pa.schema(schema.to_arrow()), *later]))
    return {name: kind for name, kind in types.items() if name != "ds"}


def of_partitions(delta: DeltaTable, records: Mapping[str, Record]) -> set[str]:
    """Return the columns that at least one of the published partitions with ``records`` has."""
    lacking = set(added(delta)).difference(*(record.added for record in records.values()))
    return {field.name for field in delta.schema().fields if field.name not in lacking}


def with_staged(delta: DeltaTable, stage: Stage) -> Schema | None:
    """Return the table's schema with the columns that the stage brings; ``None`` if it brings none.

    Raises:
        SchemaMismatch: the stage lacks a column that the table was created with, or a column has another type.
    """
    have = _types(delta)
    want = {field.name: field.type for field in stage.schema()}
    optional = set(added(delta))
    new = [name for name in want if name not in have]
    faults = [f"{name} is missing" for name in have if name not in want and name not in optional]
    faults += [f"{n} is {want[n]}, not {have[n]}" for n in want if n in have and str(want[n]) != str(have[n])]
    if faults:
        faults[len(faults) :] = [f"{name} is new" for name in new]
        raise SchemaMismatch(
            f"{stage.table}: the staged columns are not the table's: {'; '.join(faults)}. A column may be added, but "
            "none may go or change its type: deliver it as it was (as NULL of its type where it is not known any "
            f"more), or publish under a new name, for example {stage.table}_v2. The stage is kept at {stage.path}"
        )
    if not new:
        return None
    fields = [Field.from_arrow(stage.columns.field(name)) for name in new]
    marked = [Field(field.name, field.type, nullable=True, metadata={_MARK: "true"}) for field in fields]
    *first, last = sorted(delta.schema().fields, key=lambda field: field.name == "ds")
    return Schema([*first, *marked, last])


def staged_additions(schema: Schema, stage: Stage) -> dict[str, Any]:
    """Return the entry of the publish record that names the added columns of ``schema`` that the stage has."""
    there = [f.name for f in schema.fields if _MARK in f.metadata and f.name in stage.columns.names]
    return {"added": there} if there else {}


def refuse_lacking(delta: DeltaTable, before: DeltaTable | None, stage: Stage) -> None:
    """Refuse a stage that lacks a column which was added since it was made; one made later leaves it out on purpose.

    Args:
        delta: the table.
        before: the table at the version at which the stage was begun; ``None`` if it is not known or had none.
        stage: the rows to publish.

    Raises:
        SchemaMismatch: names the columns.
    """
    lacking = [name for name in added(delta) if name not in stage.columns.names]
    known = () if before is None else added(before)
    late = [name for name in lacking if name not in known]
    if late:
        raise SchemaMismatch(
            f"{stage.table}: the stage lacks {', '.join(late)}, which another version of the code added to the table "
            "after this stage was made. Nothing was published. Clear the task that staged the rows, with the tasks "
            f"after it, so that they are computed by the code of now. The stage is kept at {stage.path}"
        )


def _types(delta: DeltaTable) -> dict[str, pa.DataType]:
    return {field.name: field.type for field in pa.schema(delta.schema().to_arrow())}
