"""The start of the stack: `make demo` on an empty folder, which includes the first `make up`; then `make up` again.

There is no reference. The facts are the seconds until each part was healthy and until each step of the demo was done.
Most of a start is the imports of five processes on the cores of the machine. The benchmarks through Airflow continue in
the folder that the demo leaves. Smaller scales skip the demo.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

from tests.benchmarks import stacks
from tests.benchmarks.cases import Call, Facts, Row, Scale, Work
from tests.benchmarks.data import CACHE
from tests.ports import free_ports

# a line of progress: seconds, the part of the stack or the DAG, its state
_REACHED = re.compile(r"^ *([0-9.]+) s +(\S+) +(?:healthy|current|done)\b", re.MULTILINE)


def rows(scale: Scale) -> list[Row]:
    """List the first start and a later one."""
    full = scale == "full"
    home = str(stacks.Prepared(stacks.use_case(scale)).home if full else CACHE.parent / "stack-up")
    first_up = Row("make up, first time", 1, "starts", Call("healthy", "up", {"home": home, "anew": True}, limit_s=600))
    return [
        Row("make demo", 1, "runs", Call("done", "demo", limit_s=3600)) if full else first_up,
        Row("make up, again", 1, "starts", Call("healthy", "up", {"home": home, "anew": False}, limit_s=600)),
    ]


def demo() -> Work:
    """Set up `make demo` on an empty folder."""
    prepared = stacks.Prepared(stacks.use_case("full"))

    def run() -> Facts:
        reached: dict[str, float] = {}
        for seconds, part in _REACHED.findall(prepared.play_demo()):
            reached.setdefault(part, float(seconds))
        return reached

    def after() -> Facts:
        prepared.go_on_from_demo()
        return {}

    return Work(run, prepared.forget, after)


def up(home: str, anew: bool) -> Work:
    """Set up `make up` on an empty ``home``, or on one that was up before."""
    from include.stack.layout import Layout
    from include.stack.stack import Stack

    stacks.only_ours(os.environ)
    folder = Path(home)

    def before() -> None:
        if not anew and not folder.exists():
            Stack(Layout(folder, *free_ports())).up()
        Stack(Layout(folder)).down()
        if anew:
            shutil.rmtree(folder, ignore_errors=True)

    def run() -> Facts:
        began, reached = time.perf_counter(), {}

        def report(part: str, doing: str) -> None:
            if doing in ("healthy", "current"):
                reached[part] = round(time.perf_counter() - began, 2)

        Stack(Layout(folder, *free_ports()), report).up()
        return dict(reached)

    return Work(run, before)
