"""Compare the types that a feature view declares with those of its table.

A training set reads the table, the online store converts to the declared types. Where they differ, a model would
learn 1.5 and be served 1, or learn 1e300 and be served infinity.
"""

from __future__ import annotations

import pyarrow as pa
from feast import FeatureView
from feast.types import Array, FeastType, Set

from include.core.words import nearest

_WIDTHS = {
    pa.int8(): 8,
    pa.int16(): 16,
    pa.int32(): 32,
    pa.int64(): 64,
    pa.uint8(): 9,
    pa.uint16(): 17,
    pa.uint32(): 33,
}
_EXACT_BITS = {"Float32": 24, "Float64": 53, "Int32": 32, "Int64": 64}
_TEXT = (pa.string(), pa.large_string(), pa.string_view())
_REMEDY = {"bool": "Bool", "float": "Float32", "double": "Float64", "string": "String", "binary": "Bytes"}


def faults(view: FeatureView, schema: pa.Schema) -> list[str]:
    """Return a sentence for each field of ``view`` whose declared type cannot hold each value of its column.

    Args:
        view: the definition.
        schema: columns of the view's table.
    """
    source = view.batch_source
    column_of = {new: old for old, new in source.field_mapping.items()} if source is not None else {}
    found = []
    for field in (*view.entity_columns, *view.features):
        column = column_of.get(field.name, field.name)
        if column not in schema.names:
            if not field.name.startswith("__"):  # the placeholder key of a view without entities
                found.append(f"{view.name}: its table has no column {column!r}{nearest(column, schema.names)}")
        elif not _holds(field.dtype, kind := schema.field(column).type):
            found.append(
                f"{view.name}: {field.name!r} is declared as {field.dtype}, but column {column!r} of its table is"
                f" {kind}, whose values {field.dtype} changes; declare it as {_declared(kind)}, or cast the column in"
                " the view's SQL and publish under a new name"
            )
    return found


def _holds(declared: FeastType, kind: pa.DataType) -> bool:
    """Tell whether each value of ``kind`` is the same value when converted to ``declared``."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if isinstance(declared, Array | Set):
        return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind)) and _holds(
            declared.base_type, kind.value_type
        )
    name = str(declared)
    if name in _EXACT_BITS:
        if name.startswith("Float") and pa.types.is_floating(kind):
            return bool(kind.bit_width <= (32 if name == "Float32" else 64))
        return kind in _WIDTHS and _WIDTHS[kind] <= _EXACT_BITS[name]
    if name == "String":
        return kind in _TEXT
    if name == "Bool":
        return bool(pa.types.is_boolean(kind))
    if name == "UnixTimestamp":
        return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))
    # maps, JSON and other types that no number can be lost in: Feast's own converter refuses what does not fit
    return True


def _declared(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind):
        return "Int64" if _WIDTHS.get(kind, 65) > 32 else "Int32 or Int64"
    return _REMEDY.get(str(kind), f"the Feast type of {kind}")
