"""Rules in SQL: their text, their evaluation, and whether one pass over a span judges each partition alone."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

import duckdb

BATCH = "{batch}"
_AGGREGATES = "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'aggregate'"


def over(query: str, relation: str) -> str:
    """Return ``query`` over ``relation``, in brackets, so that it may stand after FROM.

    Only ``{batch}`` is replaced: other braces and colons are DuckDB's. The closing bracket stands on a line of its
    own, since the query may end in a comment.
    """
    text = query.rstrip("; \t\r\n").replace(BATCH, relation)
    return f"(\n{text}\n)"


def predicate(text: str) -> str:
    """Return a predicate in brackets; the closing one stands on a line of its own, as in ``over``."""
    return f"(\n{text}\n)"


def count_rows(session: duckdb.DuckDBPyConnection, query: str, relation: str) -> int:
    """Count the rows that a rule finds."""
    (count,) = session.execute(f"SELECT count(*) FROM {over(query, relation)}").fetchall()[0]
    return int(count)


def judges_each_partition(session: duckdb.DuckDBPyConnection, query: str, relation: str, whole: frozenset[str]) -> bool:
    """Tell whether the rows that a query finds in a span are those that it finds in each partition alone.

    True for a selection of rows of ``relation``, or of groups by ``ds``, perhaps with subqueries over the tables
    ``whole``, which are the same for every partition. Anything else counts as false, which costs a query a partition.
    """
    text = over(query, relation).removeprefix("(\n").removesuffix("\n)")
    (found,) = session.execute("SELECT json_serialize_sql(?)", [text]).fetchall()[0]
    parsed = json.loads(found)
    if parsed.get("error") or len(parsed["statements"]) != 1:
        return False
    return _by_row_or_day(parsed["statements"][0]["node"], relation, whole, _aggregates())


def _by_row_or_day(node: dict[str, Any], relation: str, whole: frozenset[str], aggregates: frozenset[str]) -> bool:
    if node["type"] != "SELECT_NODE" or node["cte_map"]["map"] or node.get("sample") or node.get("qualify"):
        return False
    if node["aggregate_handling"] != "STANDARD_HANDLING" or len(node["group_sets"]) > 1:
        return False
    if any(modifier["type"] not in ("ORDER_MODIFIER", "DISTINCT_MODIFIER") for modifier in node["modifiers"]):
        return False
    source = node["from_table"]
    if source["type"] != "BASE_TABLE" or source["table_name"] != relation or source.get("sample"):
        return False
    parts = {name: part for name, part in node.items() if name != "from_table"}
    if any(table not in whole for table in _tables(parts)) or any(_of_class(parts, "WINDOW")):
        return False
    if node["group_expressions"]:
        return _groups_by_day(node)
    called = {one["function_name"].lower() for one in _of_class(parts, "FUNCTION")}
    return node["having"] is None and called.isdisjoint(aggregates)


def _groups_by_day(node: dict[str, Any]) -> bool:
    # another expression called ds could be meant by GROUP BY
    renamed = [one for one in node["select_list"] if one.get("alias", "").lower() == "ds"]
    return not renamed and any(_is_ds(one) for one in node["group_expressions"])


def _is_ds(expression: dict[str, Any]) -> bool:
    return bool(expression["class"] == "COLUMN_REF" and expression["column_names"][-1].lower() == "ds")


def _tables(value: Any) -> Iterator[str]:
    """Yield the name of every table, and an empty name for every table function, join or other source in ``value``."""
    for node in _dicts(value):
        source = node.get("from_table")
        if source is None:
            continue
        for one in _dicts(source):
            if one.get("type") == "BASE_TABLE":
                yield one["table_name"]
            elif one.get("type") in ("TABLE_FUNCTION", "PIVOT", "SHOW_REF", "EMPTY"):
                yield ""


def _of_class(value: Any, name: str) -> Iterator[dict[str, Any]]:
    return (node for node in _dicts(value) if node.get("class") == name)


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _dicts(one)


@functools.cache
def _aggregates() -> frozenset[str]:
    with duckdb.connect() as connection:
        return frozenset(row[0].lower() for row in connection.execute(_AGGREGATES).fetchall())
