"""Tests of the supervisor: it starts what has ended, at growing intervals, PostgreSQL first, and never beside `up`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import psutil
import pytest

from include.stack.layout import Layout
from include.stack.processes import Daemon
from include.stack.restarts import Restarts, read_restarts
from include.stack.stack import Stack
from include.stack.supervisor import Supervisor
from tests.waiting import until

pytestmark = pytest.mark.fault


class Parts:
    """A stack of names; a started part notes its name in a file, because a child of the supervisor starts it."""

    def __init__(self, layout: Layout) -> None:
        self.layout, self.down, self.busy = layout, set[str](), False
        self.file = layout.home / "started"

    @contextmanager
    def if_idle(self) -> Iterator[bool]:
        yield not self.busy

    def ended(self) -> list[str]:
        return sorted(self.down, key=lambda name: (name != "postgres", name))

    def start_again(self, name: str) -> None:
        with self.file.open("a") as file:
            file.write(f"{name}\n")

    @property
    def started(self) -> list[str]:
        return self.file.read_text().split() if self.file.exists() else []


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    layout = Layout(tmp_path)
    layout.run.mkdir()
    return Parts(layout)


def looked(parts: Parts, *instants: float) -> list[str]:
    now = 0.0
    supervisor = Supervisor(cast("Stack", parts), lambda: now)
    for now in instants:  # noqa: B007 - the clock reads it
        supervisor.look()
    return parts.started


def test_a_part_that_ended_is_started_after_a_second(parts: Parts) -> None:
    parts.down = {"triggerer"}
    assert looked(parts, 1000.0, 1000.5) == []
    assert looked(parts, 1000.0, 1001.0) == ["triggerer"]


def test_a_part_that_ends_again_and_again_is_tried_at_growing_intervals(parts: Parts) -> None:
    parts.down = {"triggerer"}
    assert len(looked(parts, *(1000.0 + second for second in range(600)))) == 14


def test_without_its_database_nothing_else_is_started(parts: Parts) -> None:
    parts.down = {"postgres", "scheduler"}
    assert looked(parts, 1000.0, 1001.0) == ["postgres"]


def test_while_another_command_has_the_stack_nothing_is_started(parts: Parts) -> None:
    parts.down, parts.busy = {"scheduler"}, True
    assert looked(parts, 1000.0, 1100.0) == []


def test_a_sound_time_ends_the_series() -> None:
    one = Restarts(count=6, last=1000.0, series=6)
    one.ended(1001.0)
    assert one.due == 1001.0 + 60
    other = Restarts(count=6, last=1000.0, series=6)
    other.ended(2000.0)
    assert other.due == 2001.0


def test_restarts_are_recorded_for_make_status(parts: Parts) -> None:
    parts.down = {"triggerer"}
    looked(parts, 1000.0, 1001.0)
    assert read_restarts(parts.layout.restarts_file)["triggerer"].count == 1
    assert read_restarts(parts.layout.home / "nothing") == {}


def test_what_it_started_is_no_child_of_it(parts: Parts, tmp_path: Path) -> None:
    daemon = Daemon("part", tmp_path / "run", tmp_path / "part.log")
    parts.start_again = lambda name: daemon.start(["sleep", "3600"], {}, Path("/"))  # type: ignore[method-assign,assignment]
    parts.down = {"part"}
    looked(parts, 1000.0, 1001.0)
    process = until(daemon.process, "a started part")
    assert process.pid not in {child.pid for child in psutil.Process().children(recursive=True)}
    process.kill()
