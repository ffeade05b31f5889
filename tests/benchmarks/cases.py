"""What a benchmark consists of: calls that are measured, rows that compare them, targets they should reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Scale = Literal["tiny", "small", "full"]
Facts = Mapping[str, Any]
"""What a measured piece of work says about itself. ``answer`` is compared between the calls of a row."""


@dataclass(frozen=True)
class Work:
    """One piece of work, set up in the process that will be measured.

    Attributes:
        run: what is measured; it may return facts.
        before: makes each run start from the same state; not measured.
        after: more facts, found by looking at what the run has made; not measured.
    """

    run: Callable[[], Facts | None]
    before: Callable[[], None] = lambda: None
    after: Callable[[], Facts] = dict


@dataclass(frozen=True)
class Call:
    """A function of the benchmark's module that takes ``arguments`` (plain values) and returns its ``Work``.

    Attributes:
        label: how the table names it.
        units: how many units of the row's size it works on, when not all: then it is compared per unit.
        fresh: a new process for each run, where memory is compared; otherwise one process stays for all runs.
        runs: runs of it; by default fewer the longer it takes.
        environ: variables of its process.
        limit_s: seconds after which a run is given up, and so is setting up.
    """

    label: str
    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    units: int | None = None
    fresh: bool = False
    runs: int | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    limit_s: float = 900.0


@dataclass(frozen=True)
class Target:
    """What a row should reach.

    Attributes:
        measure: ``seconds``, ``cpu`` (seconds of all threads and children), ``memory`` (MB above what was
            loaded before), ``peak`` (MB of the whole process), or the name of a fact.
        bound: the ratio, or without ``against`` the value, that should be reached.
        against: label of a reference of this row, or name of another row (then its subject).
        faster: ``bound`` is how many times as much the reference needs, and more is better; otherwise
            it is how many times as much the subject needs, and less is better.
        per_unit: divide by the units first.
        text: how the table names it, when the default says too little.
    """

    measure: str
    bound: float
    against: str | None = None
    faster: bool = False
    per_unit: bool = True
    text: str = ""


@dataclass(frozen=True)
class Row:
    """One line of work at one size.

    Attributes:
        name: unique in its benchmark.
        size, unit: how much work it is.
        series: rows of one series differ in size only; their growth is shown.
    """

    name: str
    size: int
    unit: str
    subject: Call
    references: tuple[Call, ...] = ()
    targets: tuple[Target, ...] = ()
    series: str = ""

    @property
    def calls(self) -> tuple[Call, ...]:
        return (self.subject, *self.references)
