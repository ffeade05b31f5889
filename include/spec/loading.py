"""Find the use cases' spec files, read them, and report every fault of each."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from include.core import places, yaml_file
from include.core.errors import SpecError
from include.core.words import nearest
from include.spec.use_case import FOLDER, UseCase

MORE_FOLDERS = "LIFECYCLE_USE_CASES"
"""Environment variable: further folders of use cases, separated as in PATH."""


@dataclass(frozen=True)
class Broken:
    """A spec that could not be loaded, kept so that the other use cases go on."""

    name: str
    error: SpecError


def load_use_cases() -> Iterator[UseCase]:
    """Yield every use case whose spec is sound, by name; ``broken_use_cases`` reports the others."""
    yield from (case for case in _load_all() if isinstance(case, UseCase))


def broken_use_cases() -> list[Broken]:
    """Return every use case whose spec is not sound, with all its faults."""
    return [case for case in _load_all() if isinstance(case, Broken)]


def load_use_case(name: str) -> UseCase:
    """Return the use case called ``name``.

    Raises:
        SpecError: there is none, or its spec has faults; names all of them.
    """
    files = _spec_files()
    if name not in files:
        folders, faults = _folders()
        looked = ", ".join(str(folder) for folder in folders)
        raise SpecError([
            f"use case {name!r} unknown{nearest(name, files)} Looked for <name>/<name>.yaml in {looked}; "
            f"{MORE_FOLDERS} names further folders", *faults,
        ])  # fmt: skip
    return _load(files[name], files)


def folder_of(name: str) -> Path | None:
    """Return the folder of the use case called ``name``, be its spec sound or not; None if there is none."""
    path = _spec_files().get(name)
    return None if path is None else path.parent


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a spec file, for editors; a spec that is ``like`` another may leave out anything."""
    schema = UseCase.model_json_schema()
    complete = {"required": schema.pop("required")}
    for group in schema["$defs"].values():
        group.pop("required", None)
    return schema | {"required": ["name"], "if": {"required": ["like"]}, "else": complete}


def _found() -> list[Path]:
    """Return every spec file, by name; of two with one name, that of the earlier folder comes first."""
    folders, _ = _folders()
    paths = [path for folder in folders for path in folder.glob("*/*.yaml") if path.stem == path.parent.name]
    return sorted(paths, key=lambda path: path.stem)


def _folders() -> tuple[list[Path], list[str]]:
    """Return the folders of use cases, the shipped one first, and the faults of the others."""
    found, faults = [FOLDER], []
    for part in filter(None, os.environ.get(MORE_FOLDERS, "").split(os.pathsep)):
        try:
            found.append(places.folder(part))
        except ValueError as error:
            faults.append(f"{MORE_FOLDERS} has {part!r}: {error}")
    return list(dict.fromkeys(found)), faults


def _spec_files() -> dict[str, Path]:
    """Return the spec file of each use case, by name."""
    return {path.stem: path for path in reversed(_found())}


def _load_all() -> Iterator[UseCase | Broken]:
    files = _spec_files()
    _, faults = _folders()
    if faults:
        yield Broken(MORE_FOLDERS, SpecError(faults))
    for path in _found():
        try:
            if files[path.stem] != path:
                raise SpecError([
                    f'{path}: the use case "{path.stem}" exists already, in {files[path.stem]}; '
                    "give one of them another name"
                ])  # fmt: skip
            yield _load(path, files)
        except SpecError as error:
            yield Broken(path.stem, error)


def _load(path: Path, files: Mapping[str, Path]) -> UseCase:
    values = _read(path)
    base = _base(path, values, files)
    if base != path:
        values = _over(_read(base), values)
    faults = []
    if isinstance(values.get("name"), str) and values["name"] != path.stem:
        faults.append(f'{path.name}: name is "{values["name"]}"; it must be that of the file and folder, "{path.stem}"')
    try:
        case = UseCase.model_validate(values)
    except ValidationError as error:
        raise SpecError(faults + [_fault(path.name, fault) for fault in error.errors()]) from error
    if faults:
        raise SpecError(faults)
    case._assets_folder = base.parent
    return case


def _base(path: Path, values: Mapping[str, Any], files: Mapping[str, Path]) -> Path:
    """Return the file that ``like`` names, which gives the missing values; without ``like`` the file itself."""
    like = values.get("like")
    if like is None:
        return path
    base = files.get(like) if isinstance(like, str) else None
    if base is None or base == path:
        others = [name for name, file in files.items() if file != path]
        raise SpecError([f'{path.name}: like "{like}" unknown{nearest(str(like), others)}'])
    further = _read(base).get("like")
    if further is not None:
        raise SpecError([
            f'{path.name}: like "{like}" is itself like "{further}"; name that one and give what differs'
        ])  # fmt: skip
    return base


def _read(path: Path) -> dict[str, Any]:
    try:
        values = _parsed(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError([f"{path.name}: not readable as YAML: {' '.join(str(error).split())}"]) from error
    if not isinstance(values, dict):
        raise SpecError([f"{path.name}: holds {type(values).__name__}; a spec is a mapping of names to values"])
    return values


@functools.lru_cache(maxsize=16)
def _parsed(text: str) -> Any:
    """Parse a spec's text, once for all specs that are ``like`` it; callers must not change the result."""
    return yaml_file.parse(text)


def _over(base: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Lay ``values`` over ``base``: groups are merged, lists are replaced, and null takes a group or a list away."""
    merged = dict(base)
    for name, value in values.items():
        below = merged.get(name)
        if value is None and isinstance(below, dict | list):
            del merged[name]
            continue
        merged[name] = _over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _fault(file: str, fault: Any) -> str:
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"{file}: {where} unknown{nearest(str(fault['loc'][-1]), _fields_at(fault['loc'][:-1]))}"
    shown = "" if fault["type"] == "missing" or isinstance(fault.get("input"), dict) else f' "{fault.get("input")}"'
    return f"{file}: {where}{shown}: {fault['msg'].removeprefix('Value error, ')}"


def _fields_at(location: tuple[Any, ...]) -> list[str]:
    model: Any = UseCase
    for part in location:
        field = getattr(model, "model_fields", {}).get(part)
        model = getattr(field, "annotation", None)
    return list(getattr(model, "model_fields", {}))
