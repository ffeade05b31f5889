"""The CPU profile of a warm day and of a backfill: ``python -m tests.benchmarks.profile``.

Two views of the same minutes. By process: CPU seconds of the scheduler, the servers, the databases and the tasks,
from the operating system. By code: samples of py-spy in the task processes; each sample counts for the innermost
library or layer on its stack, so that the shares add up to one.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
from rich.console import Console

from include.stack.api import AirflowApi
from include.stack.stack import Stack
from tests.benchmarks import results, stacks
from tests.benchmarks.machine import describe

RATE_HZ = 100
DAYS, BACKFILL_DAYS = 3, 8
# the first pattern that matches a frame, read from the innermost frame outwards, names the sample
LAYERS = (
    ("Evidently", r"evidently/|plotly/"),
    ("Great Expectations", r"great_expectations/|duckdb_sqlalchemy/|include/quality/"),
    ("MLflow", r"mlflow/"),
    ("Feast", r"feast/|include/feature_store/"),
    ("Delta", r"deltalake/"),
    ("this project", r"include/|lifecycle/|feast_repo/"),
    ("imports", r"importlib"),
    ("Airflow", r"airflow/|multiprocessing/|dags/"),
)


def main() -> None:
    """Profile, print both views and write them beside the results."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.profile", description=__doc__)
    parser.add_argument("--scale", choices=("small", "full"), default="full")
    scale = parser.parse_args().scale
    try:
        found = {"machine": describe(), **profile(stacks.Prepared(stacks.use_case(scale)))}
    finally:
        stacks.stop_all()
    folder = results.folder(scale)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "profile.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    page = "\n".join(["# Where the CPU time goes", "", *table(found), ""])
    (folder / "profile.md").write_text(page, encoding="utf-8")
    Console().print(page, markup=False, highlight=False, soft_wrap=True)


def profile(prepared: stacks.Prepared) -> dict[str, dict[str, dict[str, float]]]:
    """Profile some days one after the other and a backfill; return the shares of each."""
    prepared.make()
    stack = prepared.start()
    api = AirflowApi.from_layout(stack.layout)
    stacks.one_day_through_airflow(api, prepared.case, prepared.take(1)[0])

    def days() -> None:
        for key in prepared.take(DAYS):
            stacks.one_day_through_airflow(api, prepared.case, key)

    found = {f"{DAYS} days, one after the other": measured(stack, days)}
    keys = prepared.take(BACKFILL_DAYS)
    found[f"backfill of {BACKFILL_DAYS} days"] = measured(stack, lambda: stacks.backfill(stack, prepared.case, keys))
    return found


def measured(stack: Stack, work: Callable[[], object]) -> dict[str, dict[str, float]]:
    """Run ``work`` and return wall seconds, CPU seconds by process, and shares by code of the task processes."""
    before, began = by_process(stack), time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        recorded = Path(scratch) / "stacks.txt"
        spies = subprocess.Popen(
            [
                *(str(Path(sys.executable).with_name("py-spy")), "record", "--rate", str(RATE_HZ), "--nonblocking"),
                *("--subprocesses", "--format", "raw", "--output", str(recorded), "--pid", str(parent_of_tasks().pid)),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            work()
        finally:
            spies.send_signal(signal.SIGINT)
            spies.wait(60)
        shares = by_code(recorded.read_text(encoding="utf-8"))
    seconds = {name: round(after - before.get(name, 0.0), 1) for name, after in by_process(stack).items()}
    return {"wall seconds": {"all": round(time.monotonic() - began, 1)}, "CPU seconds": seconds, "tasks": shares}


def parent_of_tasks() -> psutil.Process:
    """Find the warm process that every task is forked from."""
    for process in psutil.process_iter():
        try:
            if "include.stack.preload" in " ".join(process.cmdline()) and "forkserver" in " ".join(process.cmdline()):
                return process
        except psutil.Error:
            continue
    raise RuntimeError("found no process with include.stack.preload that tasks are forked from; is the stack up?")


def by_process(stack: Stack) -> dict[str, float]:
    """Return the CPU seconds so far of each part of the stack with its children; tasks count separately."""
    tasks = _tree(parent_of_tasks())
    found = {"tasks": _cpu(tasks)}
    apart = {process.pid for process in tasks}
    for part in stack.status():
        if part.pid is not None:
            tree = [process for process in _tree(psutil.Process(part.pid)) if process.pid not in apart]
            found[part.name] = _cpu(tree)
    return found


def _tree(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def _cpu(processes: list[psutil.Process]) -> float:
    """Return the CPU seconds of the processes and of their ended children."""
    total = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def by_code(stacks_seen: str) -> dict[str, float]:
    """Return the share of samples by layer, in percent, largest first."""
    counted: Counter[str] = Counter()
    for line in stacks_seen.splitlines():
        frames, _, count = line.rpartition(" ")
        counted[_layer(frames.split(";"))] += int(count)
    total = sum(counted.values()) or 1
    return {name: round(100 * count / total, 1) for name, count in counted.most_common()}


def _layer(frames: list[str]) -> str:
    for frame in reversed(frames):
        for name, pattern in LAYERS:
            if re.search(pattern, frame):
                return name
    return "Airflow"


def table(found: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    """Render both views as Markdown."""
    lines = []
    for name, seen in found.items():
        if name == "machine":
            continue
        wall, seconds = seen["wall seconds"]["all"], seen["CPU seconds"]
        lines += [f"**{name}**: {wall} s on the clock, {sum(seconds.values()):.1f} CPU seconds", ""]
        ranked = sorted(seconds.items(), key=lambda item: -item[1])
        lines += ["| process | CPU s |", "|---|--:|", *(f"| {part} | {used} |" for part, used in ranked), ""]
        lines += ["| in the tasks | % of samples |", "|---|--:|"]
        lines += [*(f"| {layer} | {share} |" for layer, share in seen["tasks"].items()), ""]
    return lines


if __name__ == "__main__":
    main()
