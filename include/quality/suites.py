"""Expectation suites as YAML: what a table must look like before anyone may read it.

A suite holds values only. Names of expectations and their arguments are those of Great Expectations,
checked against its own registry when the suite loads (``include.quality.catalog``).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from include import yaml_file
from include.errors import SpecError

Severity = Literal["critical", "warning"]
Text = Annotated[str, Field(min_length=1)]
Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class _Values(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class QuarantineRule(_Values):
    """Rows that can never be used. They are split off before the audit and kept with the reason.

    Attributes:
        name: what the rule is called in the quarantine table.
        when: SQL predicate over the table's columns; true sends the row away, null keeps it.
        reason: why such a row is useless, for whoever finds it in quarantine.
    """

    name: Identifier
    when: Text
    reason: Text


class PartitionRows(_Values):
    """How many rows each partition has, both bounds included."""

    min: Annotated[int, Field(ge=1)] | None = None
    max: Annotated[int, Field(ge=1)] | None = None
    severity: Severity
    why: Text


class ExpectationRule(_Values):
    """One expectation of Great Expectations with its arguments.

    Attributes:
        type: a registered name, such as ``expect_column_values_to_be_between``.
        severity: ``critical`` stops the publish, ``warning`` is published and reported.
        why: what the rule protects; shown in the report.
    """

    type: Text
    kwargs: dict[str, Any] = {}
    severity: Severity
    why: Text


class Suite(_Values):
    """Everything that is checked about one table.

    Attributes:
        table: the table's name within its layer, such as ``outcomes``.
        key: columns that identify a row; never null, never repeated.
        null_in_key: those of them that may be null after all, where null names something itself.
        columns: DuckDB type of each column that must be there.
        other_columns: whether columns that are not listed may be there too.
        reads: names of other tables that expectations join; the caller gives them as views.
        may_be_empty_on: partitions that may have no rows: keys, or ``first`` for the first of history.
        rows_per_partition: bounds on the size of each partition.
    """

    table: Identifier
    key: Annotated[list[str], Field(min_length=1)]
    null_in_key: list[str] = []
    columns: Annotated[dict[str, str], Field(min_length=1)]
    other_columns: Literal["allowed", "refused"] = "allowed"
    reads: list[Identifier] = []
    may_be_empty_on: list[Annotated[str, Field(pattern=r"^(first|\d{4}-\d{2}-\d{2})$")]] = []
    rows_per_partition: list[PartitionRows] = []
    quarantine: list[QuarantineRule] = []
    expectations: list[ExpectationRule] = []

    def may_be_empty(self, first_partition: str | None) -> frozenset[str]:
        """The keys that may have no rows, with ``first`` resolved."""
        keys = {first_partition if key == "first" else key for key in self.may_be_empty_on}
        return frozenset(key for key in keys if key is not None)


_MODELS: Mapping[tuple[str, ...], type[BaseModel]] = {
    (): Suite,
    ("quarantine",): QuarantineRule,
    ("rows_per_partition",): PartitionRows,
    ("expectations",): ExpectationRule,
}


def load_suite(path: Path) -> Suite:
    """Read and check one suite.

    Raises:
        SpecError: with every fault of the file, each with file, field, reason and nearest name.
    """
    suite, faults = _read(path)
    if suite is None or faults:
        raise SpecError(faults)
    return suite


def load_suites(folder: Path) -> dict[str, Suite]:
    """Read every suite of a folder, by table name.

    Raises:
        SpecError: with every fault of every file.
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


def nearest(name: str, names: Iterable[str]) -> str:
    """``; did you mean "x"?`` when some known name is close, else nothing."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f'; did you mean "{close[0]}"?' if close else ""


def _read(path: Path) -> tuple[Suite | None, list[str]]:
    where = f"{path.parent.name}/{path.name}"
    try:
        values = yaml_file.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        there = [other.stem for other in path.parent.glob("*.yaml")]
        return None, [f"{where}: no such suite{nearest(path.stem, there)}"]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        return None, [f"{where}: is not YAML: {' '.join(str(error).split())}"]
    if not isinstance(values, dict):
        return None, [f"{where}: holds no fields; start with `table:`, `key:` and `columns:`"]
    try:
        suite = Suite.model_validate(values)
    except ValidationError as error:
        return None, [f"{where}: {_fault(details)}" for details in error.errors()]
    # Great Expectations takes seconds to import: a file that is wrong anyway need not pay for it.
    from include.quality import catalog

    faults = catalog.faults(suite)
    if suite.table != path.stem:
        faults.append(f'table: "{suite.table}" is not the file\'s name; call the file {suite.table}.yaml')
    return (None if faults else suite), [f"{where}: {fault}" for fault in faults]


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
