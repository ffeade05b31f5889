"""The routes of Airflow's API server, found in the running application, and requests that fit them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

READS = frozenset({"GET", "HEAD", "OPTIONS"})
_PARAMETER = re.compile(r"\{([^}:]+)(:path)?\}")
_BY_TYPE: dict[str, Any] = {"string": "x", "integer": 1, "number": 1.0, "boolean": True, "null": None}
_BY_FORMAT = {
    "date-time": "2013-01-01T00:00:00Z",
    "date": "2013-01-01",
    "uuid": "00000000-0000-0000-0000-000000000000",
}


@dataclass(frozen=True)
class Route:
    """One method of one path; ``{...}`` stands for parameters."""

    method: str
    path: str

    def filled(self, values: Mapping[str, str] | None = None) -> str:
        """Return the path with ``values`` for its parameters, and 1 for the others."""
        return _PARAMETER.sub(lambda found: (values or {}).get(found[1], "1"), self.path)


def routes_of(app: Any, prefix: str = "") -> Iterator[Route]:
    """Yield every route of a Starlette application, those of the applications mounted in it included."""
    # the API of tasks keeps a router for each of its versions; the newest stands for all
    versions = getattr(getattr(app, "router", None), "versioned_routers", None)
    routes = [*getattr(app, "routes", ()), *(versions[max(versions)].routes if versions else ())]
    for route in routes:
        methods = getattr(route, "methods", None)
        if methods:
            for method in sorted(set(methods) - {"HEAD", "OPTIONS"}):
                yield Route(method, prefix + route.path)
        elif hasattr(route, "app"):
            yield from routes_of(route.app, prefix + route.path)


def body_of(openapi: Mapping[str, Any], operation: Mapping[str, Any]) -> Any:
    """Return a body that an operation accepts: its required fields, each with the least value; None for no body."""
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema")
    return None if schema is None else _value(openapi, schema)


def _value(openapi: Mapping[str, Any], schema: Mapping[str, Any]) -> Any:
    if "$ref" in schema:
        return _value(openapi, openapi["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]])
    for known in ("const", "default"):
        if known in schema:
            return schema[known]
    if "enum" in schema:
        return schema["enum"][0]
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            return _value(openapi, schema[choice][0])
    if schema.get("type") == "array":
        return [_value(openapi, schema["items"])] if "items" in schema else []
    if schema.get("type") == "object" or "properties" in schema:
        fields = schema.get("properties", {})
        return {name: _value(openapi, fields[name]) for name in schema.get("required", ())}
    return _BY_FORMAT.get(schema.get("format", ""), _BY_TYPE.get(schema.get("type", "string"), "x"))
