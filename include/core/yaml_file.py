"""YAML as plain values, by the rules of YAML 1.2, read by the parser in C, which takes a tenth of the time.

PyYAML itself follows YAML 1.1: ``NO`` is false, ``012`` is ten, ``1:30`` is ninety. Here words, times and dates are
text and numbers are decimal. A number that the two versions read differently is refused, because its author may
have meant a code; a key that stands twice in a mapping is refused too.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

_MERGE = "tag:yaml.org,2002:merge"
_UNCLEAR = "!unclear"

# PyYAML built without libyaml has the slow parser only
_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_PARSER):  # type: ignore[misc]
    """The safe loader, which makes no objects, with the scalars of YAML 1.2's core schema and with unique keys."""

    # PyYAML adds to a copy of its base's table of scalars, and that of YAML 1.1 is not wanted here
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def flatten_mapping(self, node: Any) -> None:
        """Check the keys before ``<<`` adds those of other mappings, which the mapping's own may replace."""
        if not hasattr(node, "keys_are_unique"):
            self._check_keys(node)
            node.keys_are_unique = True
        super().flatten_mapping(node)

    def _check_keys(self, node: Any) -> None:
        seen: dict[Any, Any] = {}
        for key_node, _ in node.value:
            key = "<<" if key_node.tag == _MERGE else self.construct_object(key_node, deep=True)
            try:
                before = seen.setdefault(key, key_node)
            except TypeError:  # a list or a mapping as a key: PyYAML refuses it after this
                continue
            if before is not key_node:
                raise _fault(
                    key_node,
                    f"{key} is given twice: already in line {before.start_mark.line + 1}; delete one of the two",
                )


def _refuse_unclear(loader: Any, node: Any) -> None:
    raise _fault(
        node,
        f"{node.value} is text to some programs and one number or another to others; write a decimal number without "
        f'leading zeros and underscores, or quote it: "{node.value}"',
    )


def _fault(node: Any, problem: str) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(problem=problem, problem_mark=node.start_mark)


_SIGNED = "-+0123456789"
for _tag, _pattern, _first in (
    (_MERGE, r"<<", "<"),
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:int", r"[-+]?(0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+", _SIGNED),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        f"{_SIGNED}.",
    ),
    # leading zeros, underscores, binary
    (
        _UNCLEAR,
        r"[-+]?(0[0-9_]|[0-9]+_)[0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?|[-+]?0b[01_]+|[-+]?0[xo]_?[0-9a-fA-F_]+",
        _SIGNED,
    ),
):
    _Loader.add_implicit_resolver(_tag, re.compile(rf"(?:{_pattern})\Z"), list(_first))
_Loader.add_constructor(_UNCLEAR, _refuse_unclear)


def parse(text: str) -> Any:
    """Parse one YAML document into plain values.

    Raises:
        yaml.YAMLError: it is not YAML, a key stands twice, or a value can be read in two ways; names the line.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - it makes plain values only, as yaml.SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise yaml.YAMLError(f"{where}{said}") from error
