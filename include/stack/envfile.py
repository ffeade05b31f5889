"""A parser of ``KEY=VALUE`` files that fills in ``${NAME}``."""

from __future__ import annotations

import re
from collections.abc import Mapping

from include.core.errors import SettingsError

_LINE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def parse_env(text: str, source: str, values: Mapping[str, str] | None = None) -> dict[str, str]:
    """Parse the settings in ``text`` and fill in ``${NAME}`` from ``values``.

    Accepts the syntax that Docker's env files, ``docker compose`` and this project share: no quotes, no ``export``,
    no line continuation, ``#`` comments only on their own lines. Without ``values`` references stay as they are.

    Raises:
        SettingsError: names all lines that are not ``KEY=VALUE``, all settings given twice and all references to
            undefined names.
    """
    found: dict[str, str] = {}
    lines: dict[str, int] = {}
    faults: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            faults.append(f"{source}:{number}: {line!r} is not KEY=VALUE")
            continue
        name, value = match.groups()
        if values is not None:
            unknown = [ref for ref in _REFERENCE.findall(value) if ref not in values]
            faults.extend(f"{source}:{number}: ${{{ref}}} is not defined" for ref in unknown)
            value = _REFERENCE.sub(lambda ref: values.get(ref.group(1), ""), value)
        if name in found:
            faults.append(f"{source}:{number}: {name} is given in line {lines[name]} already; delete one of the two")
        found[name], lines[name] = value, number
    if faults:
        raise SettingsError("; ".join(faults))
    return found
