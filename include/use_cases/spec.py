"""The spec of a use case: values only, checked all at once, light enough to be read at every parse."""

from __future__ import annotations

import difflib
import functools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator, model_validator

from include import partitions, yaml_file
from include.accelerators.spec import AcceleratorSpec
from include.errors import SpecError, UnknownPartition
from include.gates_spec import GateSpec
from include.monitoring_spec import MonitoringSpec
from include.scoring_spec import ScoringSpec
from include.training.catalog import METRICS
from include.training.spec import ModelSettings

FOLDER = Path(__file__).resolve().parent
MORE_FOLDERS = "LIFECYCLE_USE_CASES"
"""Environment variable: further folders of use cases, separated as in PATH."""

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Column = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Key = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]


class Values(BaseModel):
    """A group of spec values: immutable, and a name that is not known is a fault."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class History(Values):
    """The partitions that the source can deliver; ``last`` left out means that it goes on."""

    first: Key
    last: Key | None = None

    @field_validator("first", "last")
    @classmethod
    def _is_a_day(cls, key: str | None) -> str | None:
        try:
            return key if key is None else partitions.parse(key).isoformat()
        except UnknownPartition as error:
            raise ValueError(str(error)) from error

    @model_validator(mode="after")
    def _in_order(self) -> History:
        if self.last is not None and self.last < self.first:
            raise ValueError(f"last ({self.last}) lies before first ({self.first})")
        return self


class SourceSpec(Values):
    """The adapter that delivers raw partitions, as ``module:Class``, and the options it takes."""

    adapter: Annotated[str, Field(pattern=r"^include\.use_cases\.[a-z][a-z0-9_]*\.source:[A-Z][A-Za-z0-9]*$")]
    options: dict[Column, bool | int | float | str] = {}


class RawTable(Values):
    """A raw table's unique key; a reference table has one partition that holds all of it."""

    key: tuple[Column, ...] = Field(min_length=1)
    reference: bool = False


class FeatureSpec(Values):
    """Which Feast feature service the model reads, and how far back its SQL looks."""

    service: Column
    lookback_days: int = Field(ge=1, le=400)
    views: dict[Column, tuple[Column, ...]] = Field(min_length=1, description="each view's entity keys")


class PredictionSpec(Values):
    """The columns that identify one scored row."""

    key: tuple[Column, ...] = Field(min_length=1)


class BootstrapSpec(Values):
    """What the bootstrap loads when its form is left as it is."""

    days: int = Field(default=120, ge=1, description="partitions up to the last one, when no range is given")


class UseCase(Values):
    """One prediction problem, as values.

    Attributes:
        name: prefix of its DAG ids, folder of its tables, name of its Feast project and of its model.
        like: the use case whose values stand where this one names none, and whose SQL, suites and
            feature definitions it shares.
        cron: when a partition's run is due; one tick a partition.
        time_zone: IANA zone in which a partition is a calendar day.
        accelerator: what one search worker needs of the machine it runs on.
        training_days: label days of a training set, counted back from its last; left out, all of history.
        promotion: ``auto`` promotes what the gates recommend; ``approve`` asks a person first.
        limits: what a reader of a model card must know beyond its figures.
    """

    name: Name
    like: Name | None = None
    title: str
    description: str
    limits: tuple[str, ...] = ()
    owner: str
    tags: tuple[str, ...] = ()
    time_zone: str
    cron: str = "0 0 * * *"
    paused: bool = False
    history: History
    source: SourceSpec
    raw: dict[Column, RawTable] = Field(min_length=1)
    features: FeatureSpec
    predictions: PredictionSpec
    training: ModelSettings
    accelerator: AcceleratorSpec = AcceleratorSpec()
    training_days: int | None = Field(default=None, ge=3)
    promotion: Literal["auto", "approve"] = "auto"
    gates: GateSpec = GateSpec()
    scoring: ScoringSpec = ScoringSpec()
    monitoring: MonitoringSpec = MonitoringSpec()
    bootstrap: BootstrapSpec = BootstrapSpec()

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        from zoneinfo import ZoneInfo, available_timezones

        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):  # OSError: the name of a folder of zones, such as America
            raise ValueError(f"no such time zone{nearest(value, available_timezones())}") from None
        return value

    @model_validator(mode="after")
    def _gates_suit_the_training(self) -> UseCase:
        task = self.training.task
        faults = [
            f'gates: metric "{name}" is not for {task}'
            for name in sorted(self.gates.metrics())
            if task not in METRICS[name].tasks
        ]
        faults += [
            f'gates.slices "{column}" is neither a key nor categorical{nearest(column, self._sliceable)}'
            for column in self.gates.slices
            if column not in self._sliceable
        ]
        if self.scoring.recalibration is not None and task != "binary":
            faults.append("scoring.recalibration shifts probabilities: it is for binary labels")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @property
    def _sliceable(self) -> tuple[str, ...]:
        return (*self.training.categorical, *self.training.keys, *self.training.slices)

    @field_validator("cron")
    @classmethod
    def _one_tick_a_day(cls, value: str) -> str:
        if value != "0 0 * * *":
            raise ValueError("partitions are calendar days that begin at local midnight: only '0 0 * * *' is known")
        return value

    # ---- names that follow from the values ----------------------------------------------------

    _assets_folder: Path = PrivateAttr(default=FOLDER)

    @property
    def assets_folder(self) -> Path:
        """Folder of the SQL and the suites that this use case uses: its own, or those of the one it is like."""
        return self._assets_folder

    @property
    def partitioned_raw(self) -> tuple[str, ...]:
        return tuple(name for name, table in self.raw.items() if not table.reference)

    @property
    def reference_raw(self) -> tuple[str, ...]:
        return tuple(name for name, table in self.raw.items() if table.reference)

    def table(self, layer: str, name: str) -> str:
        """The lake's name of one of this use case's tables."""
        return f"{self.name}/{layer}/{name}"

    # ---- partitions -----------------------------------------------------------------------------

    def check_keys(self, first: str, last: str) -> tuple[str, ...]:
        """The keys from ``first`` to ``last``.

        Raises:
            UnknownPartition: a key is malformed or outside the source's history.
        """
        keys = partitions.key_range(first, last)
        end = self.history.last
        if keys[0] < self.history.first or (end is not None and keys[-1] > end):
            until = end or "now"
            raise UnknownPartition(
                f"{self.name}: {first}..{last} is outside the source's history {self.history.first}..{until}; "
                "ask for partitions inside it"
            )
        return keys

    def lookback(self, first: str, last: str) -> tuple[str, ...]:
        """The raw partitions that the features of ``first``..``last`` read, cut off where history begins."""
        begin = max(partitions.shift(first, 1 - self.features.lookback_days), self.history.first)
        return partitions.key_range(begin, last)


@dataclass(frozen=True)
class Broken:
    """A spec that could not be loaded, kept so that the other use cases go on."""

    name: str
    error: SpecError


def load_use_cases() -> Iterator[UseCase]:
    """Every use case whose spec is sound, by name. Broken ones are reported by ``broken_use_cases``."""
    yield from (case for case in _load_all() if isinstance(case, UseCase))


def broken_use_cases() -> list[Broken]:
    """Every use case whose spec is not sound, with all its faults."""
    return [case for case in _load_all() if isinstance(case, Broken)]


def load_use_case(name: str) -> UseCase:
    """The use case called ``name``.

    Raises:
        SpecError: there is none, or its spec has faults; names all of them.
    """
    files = _spec_files()
    if name not in files:
        raise SpecError([f"use case {name!r} unknown{nearest(name, files)}"])
    return _load(files[name], files)


def json_schema() -> dict[str, Any]:
    """The JSON schema of a spec file, for editors; a spec that is ``like`` another may leave out anything."""
    schema = UseCase.model_json_schema()
    complete = {"required": schema.pop("required")}
    for group in schema["$defs"].values():
        group.pop("required", None)
    return schema | {"required": ["name"], "if": {"required": ["like"]}, "else": complete}


def nearest(word: str, known: Any) -> str:
    """``; did you mean "x"?`` for the closest of ``known``, or nothing."""
    close = difflib.get_close_matches(str(word), list(known), n=1)
    return f'; did you mean "{close[0]}"?' if close else ""


def _found() -> list[Path]:
    """Every spec file, by name; where two have one name, that of the earlier folder first."""
    folders = [FOLDER, *(Path(part) for part in os.environ.get(MORE_FOLDERS, "").split(os.pathsep) if part)]
    paths = [path for folder in folders for path in folder.glob("*/*.yaml") if path.stem == path.parent.name]
    return sorted(paths, key=lambda path: path.stem)


def _spec_files() -> dict[str, Path]:
    """The spec file of each use case, by name."""
    return {path.stem: path for path in reversed(_found())}


def _load_all() -> Iterator[UseCase | Broken]:
    files = _spec_files()
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
    """The file whose values stand where this one names none; the file itself without ``like``."""
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
    """What a spec's text says, not to be changed: the spec that many others are ``like`` is parsed once."""
    return yaml_file.parse(text)


def _over(base: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """``values`` laid over ``base``, groups merged, lists replaced."""
    merged = dict(base)
    for name, value in values.items():
        below = merged.get(name)
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
