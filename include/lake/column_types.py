"""The types and values that a table can hold: those that Delta keeps as they are and a fingerprint covers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from include.core.errors import RowsRefused

INSTANT = pa.timestamp("us", "UTC")
_KEPT = {
    pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.bool_(), pa.string(), pa.date32(),
    INSTANT,
}  # fmt: skip
_DUCKDB = {
    pa.int8(): "TINYINT", pa.int16(): "SMALLINT", pa.int32(): "INTEGER", pa.int64(): "BIGINT", pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE", pa.bool_(): "BOOLEAN", pa.string(): "VARCHAR", pa.date32(): "DATE",
    INSTANT: "TIMESTAMP WITH TIME ZONE",
}  # fmt: skip
_TEXT = {pa.large_string(), pa.string_view()}
# years 1 to 9999, in the unit of the type: Python and the Delta log can write no others
_BOUNDS = {INSTANT: (-62_135_596_800_000_000, 253_402_300_799_999_999), pa.date32(): (-719_162, 2_932_896)}
_INFINITE = {INSTANT: 2**63 - 1, pa.date32(): 2**31 - 1}
_REMEDIES = (
    (pa.types.is_timestamp, "name its zone, as in `column AT TIME ZONE 'UTC'`, and cast it to TIMESTAMPTZ"),
    (pa.types.is_time, "cast it to VARCHAR, or to seconds as BIGINT"),
    (pa.types.is_interval, "store its length in seconds as BIGINT, by `epoch(column)`"),
    (pa.types.is_duration, "store its length in seconds as BIGINT"),
    (pa.types.is_binary, "encode it as text, by `base64(column)`, or leave it out"),
    (pa.types.is_decimal, "cast it to BIGINT or DOUBLE"),
    (pa.types.is_unsigned_integer, "cast it to a signed integer such as BIGINT"),
    (pa.types.is_nested, "give each part a column of its own, or store it as text by `to_json(column)`"),
    (pa.types.is_null, "give NULL a type, as in `CAST(NULL AS DOUBLE)`"),
)


def stored(table: str, schema: pa.Schema) -> pa.Schema:
    """Return ``schema`` with the types that are stored: ENUMs and all kinds of text are plain text.

    Raises:
        RowsRefused: a column has a type that no table can hold; names every such column, and its remedy.
    """
    faults = []
    fields = []
    for field in schema:
        kind = _plain(field.type)
        fields.append(pa.field(field.name, kind))
        if kind not in _KEPT:
            faults.append(f"column {field.name} is {kind}: {_remedy(kind)}")
    if faults:
        raise RowsRefused(f"{table}: {'; '.join(faults)}, in the query that delivers it")
    return pa.schema(fields)


def in_duckdb(schema: pa.Schema) -> dict[str, str]:
    """Return the DuckDB type of each column of a table, by name."""
    return {field.name: _DUCKDB[_plain(field.type)] for field in schema}


def refuse_values(table: str, rows: pa.Table) -> None:
    """Raise ``RowsRefused`` if a date or an instant lies outside of the years 1 to 9999; names column and value."""
    for field in rows.schema:
        if field.type not in _BOUNDS:
            continue
        first, last = _BOUNDS[field.type]
        found = pc.min_max(rows.column(field.name))
        outside = [end.value for end in found.values() if end.is_valid and not first <= end.value <= last]
        if outside:
            raise RowsRefused(
                f"{table}: column {field.name} has the value {_text(outside[0], field.type)}, and only years 1 to 9999 "
                "can be stored; deliver NULL for an instant that is not known, or a date such as 9999-12-31 for never"
            )


def _plain(kind: pa.DataType) -> pa.DataType:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.string() if kind in _TEXT else kind


def _remedy(kind: pa.DataType) -> str:
    return next((remedy for fits, remedy in _REMEDIES if fits(kind)), "cast it to a number, text, date or TIMESTAMPTZ")


def _text(value: int, kind: pa.DataType) -> str:
    if abs(value) == _INFINITE[kind]:
        return "infinity" if value > 0 else "-infinity"
    shown = str(np.datetime64(value, "D" if pa.types.is_date(kind) else "us"))
    year, rest = shown.lstrip("-").split("-", 1)
    # numpy counts the year 1 BC as 0
    before_christ = shown.startswith("-") or int(year) == 0
    return f"{int(year) + 1:04d}-{rest} BC" if before_christ else shown
