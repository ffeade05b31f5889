"""The parts of a benchmark: calls to measure, rows that compare calls, and targets that a row should reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Scale = Literal["tiny", "small", "full"]
Facts = Mapping[str, Any]
"""Numbers that a measured piece of work reports. ``answer`` is compared between the calls of a row."""


@dataclass(frozen=True)
class Work:
    """One piece of work, set up in the process that will be measured.

    Attributes:
        run: the measured function; it may return facts.
        before: resets the state before each measurement; not measured.
        after: returns more facts, from the results of ``run``; not measured.
    """

    run: Callable[[], Facts | None]
    before: Callable[[], None] = lambda: None
    after: Callable[[], Facts] = dict


@dataclass(frozen=True)
class Call:
    """A function of the benchmark's module that takes ``arguments`` (plain values) and returns its ``Work``.

    Attributes:
        label: name in the table.
        units: number of units that this call works on, if fewer than the row's size; then compared per unit.
        fresh: true for a new process for each measurement, where memory is compared; else one process for all.
        runs: number of measurements; by default fewer the longer the call takes.
        environ: environment variables of the process.
        limit_s: seconds until a measurement, or the set-up, is given up.
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
    """A goal of a row.

    Attributes:
        measure: ``seconds``, ``cpu`` (seconds of all threads and children), ``memory`` (MB above the memory before the
            call), ``peak`` (MB of the whole process), or the name of a fact.
        bound: the ratio to reach; without ``against`` the value to reach.
        against: label of a reference of this row, or name of another row (then its subject).
        faster: true if the ratio is reference to subject and more is better; false if the ratio is subject to
            reference and less is better.
        per_unit: true to divide by the units first.
        text: name in the table, where the default says too little.
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
        name: name in the table, unique in its benchmark.
        size: amount of work, in units.
        unit: name of the unit.
        subject: the call of our code.
        references: the calls to compare with.
        targets: the goals of the row.
        series: name shared by rows that differ in size only; the page shows their growth.
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
        """Return the subject and the references."""
        return (self.subject, *self.references)
