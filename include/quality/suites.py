"""Reading of a table's expectation suite from YAML; all of it is checked before anything runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from include.core import yaml_file
from include.core.errors import SpecError
from include.core.words import nearest
from include.spec.suite import ExpectationRule, PartitionRows, QuarantineRule, Suite

_MODELS: Mapping[tuple[str, ...], type[BaseModel]] = {
    (): Suite,
    ("quarantine",): QuarantineRule,
    ("rows_per_partition",): PartitionRows,
    ("expectations",): ExpectationRule,
}


def load_suite(path: Path) -> Suite:
    """Read and check one suite.

    Raises:
        SpecError: the file has faults; the error lists all of them, with file, field, reason and nearest name.
    """
    suite, faults = _read(path)
    if suite is None or faults:
        raise SpecError(faults)
    return suite


def load_suites(folder: Path) -> dict[str, Suite]:
    """Read every suite of a folder, by table name.

    Raises:
        SpecError: a file has faults, or there is no file; the error lists all faults of all files.
    """
    paths = sorted(folder.glob("*.yaml"))
    faults = [] if paths else [f"{folder}: no suites there; add <table>.yaml"]
    suites: dict[str, Suite] = {}
    for path in paths:
        suite, found = _read(path)
        faults += found
        if suite is not None:
            suites[suite.table] = suite
    if faults:
        raise SpecError(faults)
    return suites


def _read(path: Path) -> tuple[Suite | None, list[str]]:
    where = f"{path.parent.name}/{path.name}"
    try:
        values = yaml_file.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        there = [other.stem for other in path.parent.glob("*.yaml")]
        return None, [f"{where}: no such suite{nearest(path.stem, there)}"]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        return None, [f"{where}: not readable as YAML: {' '.join(str(error).split())}"]
    if not isinstance(values, dict):
        return None, [f"{where}: holds no fields; start with `table:`, `key:` and `columns:`"]
    try:
        suite = Suite.model_validate(values)
    except ValidationError as error:
        return None, [f"{where}: {_fault(details)}" for details in error.errors()]
    # imported here: Great Expectations takes seconds to import, which a file with other faults can do without
    from include.quality import expectations

    faults = expectations.faults(suite, _read_tables(suite, path.parent))
    if suite.table != path.stem:
        faults.append(f'table: "{suite.table}" is not the file\'s name; call the file {suite.table}.yaml')
    return (None if faults else suite), [f"{where}: {fault}" for fault in faults]


def _read_tables(suite: Suite, folder: Path) -> dict[str, Suite]:
    """Return the suites of the tables that a suite reads, as far as they are there and of the right form."""
    found: dict[str, Suite] = {}
    for name in suite.reads:
        try:
            found[name] = Suite.model_validate(yaml_file.parse((folder / f"{name}.yaml").read_text(encoding="utf-8")))
        except (OSError, ValueError, yaml.YAMLError):  # its own faults are reported when it is loaded
            continue
    return found


def _fault(details: Any) -> str:
    location = details["loc"]
    field = re.sub(r"\.(\d+)", r"[\1]", ".".join(str(part) for part in location))
    if details["type"] == "extra_forbidden":
        model = _MODELS.get(tuple(part for part in location[:-1] if isinstance(part, str)))
        known = model.model_fields if model else {}
        return f"{field}: unknown field{nearest(str(location[-1]), known)}"
    if details["type"] == "missing":
        return f"{field}: is missing"
    return f"{field}: {details['msg'].lower()}, not {details['input']!r}"
