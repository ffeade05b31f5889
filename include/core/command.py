"""The end of a command's process."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import NoReturn


def run(main: Callable[[], int]) -> NoReturn:
    """Run a command, and end the process with the status that it returns.

    The interpreter's own clean-up is left out: with Great Expectations imported, it cannot free the classes of DuckDB
    (nanobind), which then lists a hundred of them as leaked below the command's output.
    """
    status = main()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
