"""From nothing to healthy: `make up` on an empty folder and on one that was up before; `make demo` after install.

There is no reference. The facts say when each part was healthy, in seconds from the beginning: most of it is
the imports of five processes on the cores there are.
"""

from __future__ import annotations

import atexit
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import stacks
from tests.benchmarks.cases import Call, Facts, Row, Scale, Work
from tests.benchmarks.data import CACHE


def rows(scale: Scale) -> list[Row]:
    found = [
        Row("make up, first time", 1, "starts", Call("healthy", "first_time", limit_s=600)),
        Row("make up, again", 1, "starts", Call("healthy", "again", limit_s=600)),
    ]
    if scale == "full":
        found.append(Row("make demo", 1, "runs", Call("done", "demo", limit_s=3600)))
    return found


def first_time() -> Work:
    """The folder that it leaves is the one that is up again."""
    return _up(lambda home: shutil.rmtree(home, ignore_errors=True))


def again() -> Work:
    return _up(_up_before)


def _up_before(home: Path) -> None:
    """Let the stack of ``home`` have been up once."""
    from include.stack.layout import Layout
    from include.stack.stack import Stack

    if not home.exists():
        stack = Stack(Layout(home, *stacks.free_ports()))
        stack.up()
        stack.down()


def _up(prepare: Callable[[Path], None]) -> Work:
    from include.stack.layout import Layout
    from include.stack.stack import Stack

    stacks.only_ours(os.environ)
    home = CACHE.parent / "stack-up"
    started: list[Stack] = []
    atexit.register(lambda: Stack(Layout(home)).down())

    def before() -> None:
        prepare(home)

    def run() -> Facts:
        began, reached = time.perf_counter(), {}

        def report(part: str, doing: str) -> None:
            if doing in ("healthy", "current"):
                reached[part] = round(time.perf_counter() - began, 2)

        started[:] = [Stack(Layout(home, *stacks.free_ports()), report)]
        started[0].up()
        return dict(reached)

    def after() -> Facts:
        started[0].down()
        return {}

    return Work(run, before, after)


def demo() -> Work:
    """The folder that it leaves is the one in which the benchmarks through Airflow go on."""
    prepared = stacks.Prepared(stacks.use_case("full"))

    def after() -> Facts:
        prepared.end_demo()
        return {}

    return Work(prepared.play_demo, prepared.forget, after)
