"""Tests of the benchmarks' time budget: `make bench` ends in time, also on a slow machine."""

from __future__ import annotations

import pytest

from tests.benchmarks.__main__ import NAMES
from tests.benchmarks.budget import ABOUT_S, MINUTES, Budget


class _Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def _played(slowness: float, minutes: float | None = MINUTES) -> tuple[float, list[str]]:
    """Play all benchmarks on a machine that is ``slowness`` times slower; return the seconds and the skipped ones."""
    clock, left_out = _Clock(), []
    budget = Budget(minutes, now=clock)
    for name in NAMES:
        if not budget.allows(name):
            left_out.append(name)
            continue
        clock.seconds += slowness * ABOUT_S[name]
        budget.ended(name)
    return budget.elapsed, left_out


def test_each_benchmark_has_its_estimate() -> None:
    assert set(ABOUT_S) == set(NAMES)


def test_on_a_quiet_machine_everything_fits() -> None:
    assert _played(1.0)[1] == []


@pytest.mark.parametrize("slowness", [1.5, 2.0, 2.5, 4.0])
def test_on_a_slower_machine_it_leaves_out_what_would_end_too_late(slowness: float) -> None:
    elapsed, left_out = _played(slowness)
    assert left_out
    assert elapsed <= MINUTES * 60


def test_without_a_limit_it_leaves_out_nothing() -> None:
    assert _played(5.0, minutes=None)[1] == []


def test_it_says_how_long_a_benchmark_would_take_here() -> None:
    clock = _Clock()
    budget = Budget(10, {"one": 60, "two": 100}, clock)
    assert budget.expects("two") == 100
    clock.seconds += 120
    budget.ended("one")
    assert budget.expects("two") == 200
