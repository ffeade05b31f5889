"""Fault points: inert unless a test switches one on; then the process dies or halts at that line, once if asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from include.core import fault_points
from include.core.repository import REPOSITORY
from tests.waiting import until

pytestmark = pytest.mark.fault

PROGRAM = """
from include.core.fault_points import reached
reached("other.point")
print("before", flush=True)
reached("publish.between_tables", "flights_features")
print("after", flush=True)
"""


def run(**environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environ},
        stdout=subprocess.PIPE,
        text=True,
    )


def said(**environ: str) -> tuple[str, int]:
    process = run(**environ)
    output, _ = process.communicate()
    return output, process.returncode


def test_without_the_variables_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(fault_points.POINT, raising=False)
    assert said() == ("before\nafter\n", 0)


@pytest.mark.parametrize("point", ["publish.between_tables", "x,publish.between_tables:flights_features=kill"])
def test_the_process_dies_at_the_point(point: str) -> None:
    assert said(LIFECYCLE_FAULT_POINT=point) == ("before\n", -signal.SIGKILL)


def test_another_detail_does_not_count() -> None:
    assert said(LIFECYCLE_FAULT_POINT="publish.between_tables:weather_features") == ("before\nafter\n", 0)


def test_an_armed_point_acts_once(tmp_path: Path) -> None:
    environ = {"LIFECYCLE_FAULT_POINT": "publish.between_tables", "LIFECYCLE_FAULT_ONCE": str(tmp_path)}
    assert said(**environ) == ("before\nafter\n", 0)
    (tmp_path / "publish.between_tables").touch()
    assert said(**environ) == ("before\n", -signal.SIGKILL)
    assert said(**environ) == ("before\nafter\n", 0)


def test_a_halted_process_goes_on_when_told() -> None:
    process = run(LIFECYCLE_FAULT_POINT="publish.between_tables=stop")
    until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED, "a halted process")
    process.send_signal(signal.SIGCONT)
    assert process.communicate()[0] == "before\nafter\n"
