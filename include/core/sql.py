"""Text of SQL: quoted names and values, and the readers of Parquet files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

_PATH = "path of the file"  # the columns of tables are named like identifiers: none has spaces


def identifier(name: str) -> str:
    """Return ``name`` quoted as a column or table, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: object) -> str:
    """Return ``value`` quoted as a text."""
    return "'" + str(value).replace("'", "''") + "'"


def unused(wish: str, names: Iterable[str]) -> str:
    """Return ``wish``, with underscores after it until it is none of ``names``; upper and lower case are the same."""
    taken = {name.lower() for name in names}
    while wish.lower() in taken:
        wish += "_"
    return wish


def parquet(paths: Sequence[str | Path], columns: Mapping[str, str] | None = None) -> str:
    """Return a relation, to stand after FROM, with the columns that the files themselves hold.

    DuckDB would otherwise take folders such as ``origin=east`` anywhere above a file for columns.

    Args:
        paths: the files.
        columns: DuckDB type of each column, by name, where files may lack some: these are null. Without it all files
            have the columns of the first.
    """
    return f"read_parquet([{', '.join(literal(path) for path in paths)}], hive_partitioning = false{_schema(columns)})"


def partitioned_parquet(paths: Sequence[str | Path], columns: Mapping[str, str] | None = None) -> str:
    """Return a relation with the columns of the files, and ``ds`` from the folder ``ds=<key>`` of each file.

    A condition on ``ds`` still leaves out whole files. ``columns`` is as for ``parquet``.
    """
    path = identifier(_PATH)
    files = ", ".join(literal(path) for path in paths)
    return (
        f"(SELECT * EXCLUDE ({path}), parse_path({path}, 'forward_slash')[-2][4:] AS ds "
        f"FROM read_parquet([{files}], hive_partitioning = false, filename = {literal(_PATH)}{_schema(columns)}))"
    )


def _schema(columns: Mapping[str, str] | None) -> str:
    """Return the option of ``read_parquet`` that finds columns by their name, and gives null where a file lacks one."""
    if columns is None:
        return ""
    described = (
        f"{literal(name)}: {{name: {literal(name)}, type: {literal(kind)}, default_value: NULL}}"
        for name, kind in columns.items()
    )
    return f", schema = MAP {{{', '.join(described)}}}"
