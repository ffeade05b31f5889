"""Write the reference of everything that a use case may say, from the pydantic models of ``include.spec``."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from docs.markup import BOUNDS, KINDS, cell, code, plain

REPOSITORY = Path(__file__).resolve().parents[1]
_ATTRIBUTE = re.compile(r"^([a-z_, ]+): (.+)$")


def spec_page() -> str:
    """Return the page on every field that a use case's YAML may have."""
    text = (
        "# Spec of a use case\n\nAll that `<name>.yaml` may say. Every other name is a fault, and all faults are "
        "reported at once. A use case that is `like` another one gives only what differs.\n\n"
    )
    return text + "\n".join(_groups(spec_model("UseCase"))) + "\n" + _names_page()


def suites_page() -> str:
    """Return the page on every field that an expectation suite may have."""
    text = "# Expectation suites\n\nAll that `suites/<table>.yaml` may say.\n\n"
    return text + "\n".join(_groups(spec_model("Suite"), head="The suite"))


def spec_model(name: str) -> type[BaseModel]:
    """Return the model called ``name`` of the package ``include.spec``.

    Raises:
        LookupError: no module there has it.
    """
    for module in spec_modules():
        found = getattr(module, name, None)
        if isinstance(found, type) and issubclass(found, BaseModel) and found.__module__ == module.__name__:
            return found
    raise LookupError(f"no module of include/spec defines {name}; tell docs/generate.py what it is called now")


def spec_modules() -> list[Any]:
    """Return the modules of the package ``include.spec``."""
    folder = REPOSITORY / "include" / "spec"
    return [import_module(f"include.spec.{path.stem}") for path in sorted(folder.glob("*.py")) if path.stem[0] != "_"]


def _groups(model: type[BaseModel], head: str = "The use case") -> Iterator[str]:
    """Yield a section for ``model`` and one for every model that its fields hold."""
    known = {cls.__name__: cls for cls in _models_under(model)}
    schema = model.model_json_schema()
    groups = {head: (model, schema)} | _nested(schema, schema.get("$defs", {}), known)
    for title, (cls, part) in groups.items():
        yield f"## {title}\n\n{plain(_about(cls))}\n\n{_fields(cls, part, schema.get('$defs', {}))}\n"


def _models_under(model: type[BaseModel]) -> set[type[BaseModel]]:
    found, todo = {model}, [model]
    while todo:
        for field in todo.pop().model_fields.values():
            for cls in _classes_in(field.annotation):
                if cls not in found:
                    found.add(cls)
                    todo.append(cls)
    return found


def _classes_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _classes_in(part)


def _nested(
    schema: Mapping[str, Any], defs: Mapping[str, Any], known: Mapping[str, type[BaseModel]], path: str = ""
) -> dict[str, tuple[type[BaseModel], Mapping[str, Any]]]:
    """Find the groups below ``schema`` by the path at which a spec writes them, such as ``gates.cost``."""
    found: dict[str, tuple[type[BaseModel], Mapping[str, Any]]] = {}
    for name, field in schema.get("properties", {}).items():
        for reference, suffix in _references(field):
            where = f"{path}{name}{suffix}"
            if reference in known and not any(cls is known[reference] for cls, _ in found.values()):
                title = f"`{where}`" if f"`{where}`" not in found else f"`{where}`, {reference}"
                found[title] = (known[reference], defs[reference])
                found |= _nested(defs[reference], defs, known, f"{where}.")
    return found


def _references(field: Any, suffix: str = "") -> Iterator[tuple[str, str]]:
    if not isinstance(field, dict):
        return
    if "$ref" in field:
        yield field["$ref"].rpartition("/")[2], suffix
    for part in [*field.get("anyOf", ()), *field.get("oneOf", ()), *field.get("allOf", ())]:
        yield from _references(part, suffix)
    yield from _references(field.get("items"), f"{suffix}[]")
    yield from _references(_values_of(field), f"{suffix}.<name>")


def _values_of(field: Mapping[str, Any]) -> Any:
    """Return the schema of a mapping's values; where its names have a pattern, that of the first pattern."""
    return next(iter(field.get("patternProperties", {}).values()), field.get("additionalProperties"))


def _fields(cls: type[BaseModel], schema: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    texts = attributes(cls)
    required = schema.get("required", ())
    lines = ["| field | value | default | meaning |", "|---|---|---|---|"]
    for name, field in schema.get("properties", {}).items():
        default = "**needed**" if name in required else code(json.dumps(field.get("default"), ensure_ascii=False))
        if isinstance(field.get("default"), dict) or ("default" not in field and name not in required):
            default = "as below"
        meaning = texts.get(name) or field.get("description") or _meaning_of_group(field, defs)
        lines.append(f"| `{name}` | {cell(_kind(field))} | {cell(default)} | {cell(plain(meaning))} |")
    return "\n".join(lines)


def _meaning_of_group(field: Any, defs: Mapping[str, Any]) -> str:
    for reference, _ in _references(field):
        return str(defs[reference].get("description", "")).split("\n\n")[0]
    return ""


def attributes(cls: type) -> dict[str, str]:
    """Return what a class's docstring says under ``Attributes:``, by name; base classes first."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        _, _, section = inspect.cleandoc(base.__dict__.get("__doc__") or "").partition("Attributes:\n")
        names: list[str] = []
        for line in section.splitlines():
            match = _ATTRIBUTE.match(line.strip()) if re.match(r" {4}\S", line) else None
            if match:
                names = [name.strip() for name in match.group(1).split(",")]
                found |= dict.fromkeys(names, match.group(2))
            else:
                found |= {name: f"{found[name]} {line.strip()}".strip() for name in names}
    return found


def _about(cls: type) -> str:
    return inspect.cleandoc(cls.__doc__ or "").partition("Attributes:")[0].strip()


def _kind(field: Any) -> str:
    """Return what a field of a JSON schema takes, in words."""
    if not isinstance(field, dict):
        return "any value"
    several = field.get("anyOf") or field.get("oneOf") or field.get("allOf")
    if several:
        return " or ".join(dict.fromkeys(word for part in several for word in _kind(part).split(" or ")))
    if "$ref" in field:
        return "a group, below"
    if "enum" in field or "const" in field:
        return ", ".join(code(str(value)) for value in field.get("enum", [field.get("const")]))
    if field.get("type") == "null":
        return "nothing"
    bounds = [text.format(field[name]) for name, text in BOUNDS.items() if name in field]
    if field.get("type") == "array":
        kind = f"list of {_kind(field.get('items'))}"
    elif field.get("type") == "object":
        kind = f"names, each with {_kind(_values_of(field))}"
    else:
        kind = KINDS.get(str(field.get("type")), "any value")
    return ", ".join([kind, *bounds])


def _names_page() -> str:
    """Return the tables of metrics and of model families, with what each searches by default."""
    metrics, families = _constant("METRICS"), _constant("FAMILIES")
    lines = ["## Metrics", "", "| metric | for | better is |", "|---|---|---|"]
    for name, info in metrics.items():
        lines.append(f"| `{name}` | {', '.join(sorted(info.tasks))} | {'higher' if info.maximize else 'lower'} |")
    lines += ["", "## Model families", ""]
    for name, info in families.items():
        lines += [f"### `{name}`", "", f"For {', '.join(sorted(info.tasks))}. A spec may fix, list or bound:", ""]
        lines += ["| parameter | searched | tried first |", "|---|---|---|"]
        lines += [f"| `{parameter}` | {_searched(value)} |" for parameter, value in info.space.items()] + [""]
    return "\n".join(lines)


def _searched(dimension: Any) -> str:
    if hasattr(dimension, "low"):
        scale = " (log)" if dimension.log else ""
        return f"{dimension.low:g} to {dimension.high:g}{scale} | {dimension.start:g}"
    if hasattr(dimension, "options"):
        return f"one of {', '.join(map(str, dimension.options))} | {dimension.options[0]}"
    return f"no: {dimension.value} | {dimension.value}"


def _constant(name: str) -> Any:
    for module in spec_modules():
        if hasattr(module, name):
            return getattr(module, name)
    raise LookupError(f"no module of include/spec has {name}; tell docs/generate.py what it is called now")
