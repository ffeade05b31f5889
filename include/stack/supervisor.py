"""The supervisor of a stack: it starts parts that have ended again, PostgreSQL first, and rotates logs.

``make up`` starts it last and ``make down`` stops it first. It acts only while neither of them runs. A part that ends
again and again is tried at growing intervals of up to a minute. A part that runs but does not answer is left alone: a
person looks at it (`make status`).
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from datetime import datetime
from functools import partial

from include.stack.layout import Layout
from include.stack.log_files import rotate
from include.stack.restarts import Restarts, write_restarts
from include.stack.stack import Stack

_LOOK_EVERY_S = 2.0


class Supervisor:
    """One supervisor and what it remembers of each part."""

    def __init__(self, stack: Stack, clock: Callable[[], float] = time.time) -> None:
        self.stack, self._clock = stack, clock
        self._restarts: dict[str, Restarts] = {}

    def look(self) -> None:
        """Start the parts whose restart is due, unless another command has the stack's lock."""
        for log in self.stack.layout.logs.glob("*.log"):
            rotate(log)
        with self.stack.if_idle() as idle:
            if idle:
                self._restart_ended()
        write_restarts(self.stack.layout.restarts_file, self._restarts)

    def _restart_ended(self) -> None:
        ended = self.stack.ended()
        now = self._clock()
        for name in list(self._restarts):
            if name not in ended:
                # somebody else has started it
                self._restarts[name].due = 0.0
        for name in ended:
            self._restarts.setdefault(name, Restarts()).ended(now)
        # without its database no part can run
        for name in ["postgres"] if "postgres" in ended else ended:
            if self._restarts[name].due <= now:
                self._restarts[name].restarted(now)
                _say(f"{name} has ended; restart {self._restarts[name].count}")
                _in_a_child(partial(self.stack.start_again, name))


def _in_a_child(work: Callable[[], None]) -> None:
    """Run ``work`` in a child that ends: the parts that it starts must not be children of the supervisor.

    They would stay as zombies when they end, and would be stopped with it.
    """
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        work()
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _say(text: str) -> None:
    sys.stdout.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {text}\n")
    sys.stdout.flush()


def main() -> None:
    """Look after the stack of this environment until this process is stopped."""
    supervisor = Supervisor(Stack(Layout.from_environ()))
    _say(f"looking after {supervisor.stack.layout.home}")
    while True:
        try:
            supervisor.look()
        except Exception:
            # for example a full disk: the parts may still end and need a start when it is over
            traceback.print_exc()
        time.sleep(_LOOK_EVERY_S)


if __name__ == "__main__":
    main()
