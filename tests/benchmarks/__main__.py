"""The command line of the benchmarks: measure, compare, write the results.

``python -m tests.benchmarks [names] [--scale tiny|small|full] [--minutes 30]``
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tests.benchmarks import results, stacks
from tests.benchmarks.budget import MINUTES, Budget
from tests.benchmarks.cases import Call, Row
from tests.benchmarks.machine import QUIET_LOAD, describe
from tests.benchmarks.processes import Failed, Measured
from tests.benchmarks.results import Outcome

NAMES = (
    "join", "audit", "transform", "publish", "materialize", "sweep", "score", "drift", "parse", "torch_rows", "start",
    "chain", "backfill",
)  # fmt: skip
# a call that takes longer than this many seconds is measured this many times, not five
_LONG = ((5.0, 1), (3.0, 3))


def main() -> None:
    """Parse the command line, measure, and stop every stack that the benchmarks started."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"one or more of {', '.join(NAMES)}; default: all")
    parser.add_argument("--scale", choices=("tiny", "small", "full"), default=os.environ.get("BENCH_SCALE") or "full")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="runs of each call (%(default)s)")
    limit = f"skip and name benchmarks that would not end within N minutes ({MINUTES:.0f} for all in full, else none)"
    parser.add_argument("--minutes", type=float, metavar="N", help=limit)
    parser.add_argument("--rows", metavar="TEXT", help="only rows whose name contains it; nothing is written")
    asked = parser.parse_args()
    names = [name.replace("-", "_") for name in asked.names] or list(NAMES)
    names = ["torch_rows" if name == "torch" else name for name in names]
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    # in the order of NAMES: the benchmarks with a stack come last, so that no other is measured beside it
    names = [name for name in NAMES if name in names]
    # exit on SIGTERM, so that the stacks are stopped too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        stacks.stop_all()
        measure(names, asked)
    finally:
        stacks.stop_all()


def measure(names: list[str], asked: argparse.Namespace) -> None:
    """Measure the benchmarks ``names`` as far as time allows, print each and write its results."""
    console = Console()
    machine = describe()
    machine["busy"] = machine["load_at_start"] > QUIET_LOAD
    if machine["busy"]:
        console.print(
            f"[yellow]load average {machine['load_at_start']}: the machine is not quiet, times will be too long[/]"
        )
    minutes = asked.minutes or (MINUTES if asked.scale == "full" and not asked.names else None)
    budget, making = Budget(minutes), 0.0
    left_out: list[str] = []
    for name in names:
        if not budget.allows(name):
            left_out.append(f"{name} (about {budget.expects(name) / 60:.0f} minutes)")
            continue
        began_here = time.monotonic()
        with console.status(f"{name}: data"):
            rows = import_module(f"tests.benchmarks.{name}").rows(asked.scale)
        made = time.monotonic() - began_here
        outcomes = run(name, [row for row in rows if (asked.rows or "") in row.name], asked.repeat, console)
        found = results.as_json(name, asked.scale, machine, outcomes)
        show(found, time.monotonic() - began_here, made, console)
        making += made
        budget.ended(name)
        if asked.rows is None:
            results.write(found, results.folder(asked.scale))
    took = f"{budget.elapsed:.0f} s, {making:.0f} of them to make data"
    console.print(f"{took}; results in {results.folder(asked.scale)}")
    if left_out:
        console.print(f"[yellow]left out, to end within {minutes:g} minutes: {', '.join(left_out)}[/]")
        console.print('measure them by name, or everything with ARGS="--minutes 90"')


def run(name: str, rows: list[Row], repeat: int, console: Console) -> list[Outcome]:
    """Measure ``rows`` of one benchmark and return their outcomes."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    outcomes = []
    with Progress(*columns, console=console, transient=True) as progress:
        for row in rows:
            outcomes.append(_measure(name, row, repeat, progress))
    return outcomes


def _measure(name: str, row: Row, repeat: int, progress: Progress) -> Outcome:
    """Measure every call of a row in turns, so that other load on the machine disturbs all of them alike."""
    outcome = Outcome(row)
    processes = {call.label: Measured(name, call) for call in row.calls}
    task = progress.add_task(f"{name}: {row.name}", total=repeat * len(row.calls))

    @contextmanager
    def noted(call: Call) -> Iterator[None]:
        try:
            yield
        except Failed as fault:
            outcome.faults[call.label] = str(fault)
            said = f"{name}: {row.name}: {call.label}: {fault}\n{fault.detail}"
            progress.console.print(said, style="red", markup=False, highlight=False, soft_wrap=True)

    try:
        for call in row.calls:
            processes[call.label].start()
        for call in row.calls:
            with noted(call):
                processes[call.label].wait_until_set_up()
        for number in range(repeat):
            for call in row.calls:
                progress.update(task, description=f"{name}: {row.name}: {call.label}", advance=1)
                if call.label in outcome.faults or number >= _runs(call, outcome, repeat):
                    continue
                with noted(call):
                    outcome.runs.setdefault(call.label, []).append(processes[call.label].run())
    finally:
        for process in processes.values():
            process.stop()
        progress.remove_task(task)
    return outcome


def _runs(call: Call, outcome: Outcome, repeat: int) -> int:
    if call.runs is not None:
        return min(call.runs, repeat)
    took = outcome.runs.get(call.label, [{"seconds": 0}])[0]["seconds"]
    return min(repeat, next((runs for longer, runs in _LONG if took > longer), repeat))


def show(found: dict[str, Any], seconds: float, making: float, console: Console) -> None:
    """Print the page of one benchmark, its duration, and the part of it that went into making data."""
    console.rule(f"{found['benchmark']}: {seconds:.0f} s, {making:.0f} of them to make data")
    for line in results.tables(found):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
