"""Fault points: named lines at which a test makes a process die or halt.

A test that must kill a process between two lines cannot hit the moment from outside on a busy machine. So the code
names the moment, ``reached("publish.between_tables")``, and the test switches it on by environment variables:

``LIFECYCLE_FAULT_POINT``
    Names of points, separated by commas. ``publish.between_tables:flights_features`` is that point for that detail
    only; ``study.trial_running=stop`` halts the process (SIGSTOP) instead of killing it (SIGKILL).
``LIFECYCLE_FAULT_ONCE``
    A folder. A point then acts once for each file of its name in the folder, and deletes the file first. Of several
    processes one acts. Without the variable a point acts each time.

Nothing but these two variables has an effect: without them a point costs the look into the environment.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

POINT, ONCE = "LIFECYCLE_FAULT_POINT", "LIFECYCLE_FAULT_ONCE"
_ACTIONS = {"": signal.SIGKILL, "kill": signal.SIGKILL, "stop": signal.SIGSTOP}


def reached(name: str, detail: str = "") -> None:
    """Kill or halt this process if a test has switched the point on."""
    switched_on = os.environ.get(POINT)
    if switched_on:
        _act(switched_on.split(","), name, detail)


def _act(switched_on: list[str], name: str, detail: str) -> None:
    for one in switched_on:
        point, _, action = one.partition("=")
        if point in (name, f"{name}:{detail}") and _is_due(name):
            os.kill(os.getpid(), _ACTIONS[action])


def _is_due(name: str) -> bool:
    folder = os.environ.get(ONCE)
    if not folder:
        return True
    try:
        (Path(folder) / name).unlink()
    except FileNotFoundError:
        return False
    return True
