"""Waiting for a state in tests: as long as it takes, with a bound that only a hang reaches."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")

HANGS_AFTER_S = 900.0
"""A busy machine makes a test slow, never wrong. After a quarter of an hour something hangs."""


def until(ask: Callable[[], Answer | None], goal: str, poll_s: float = 0.02) -> Answer:
    """Ask until the answer is neither None nor false, and return it; fail the test when it never comes."""
    deadline = time.monotonic() + HANGS_AFTER_S
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"waited {HANGS_AFTER_S:.0f} s for: {goal}"
        time.sleep(poll_s)
    return answer
