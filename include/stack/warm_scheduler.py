"""A start of ``airflow scheduler`` that also starts the parent of its tasks.

Airflow starts the forkserver when the first task is due, and that task waits until the libraries are imported. Here
the import runs while the scheduler itself starts.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing import forkserver

from include.stack.launch import launch

_SIGNS_TOKENS = "AIRFLOW__API_AUTH__JWT_SECRET"


def main() -> None:
    """Start the forkserver with the modules that Airflow's settings name, then run ``airflow scheduler``."""
    preload = os.environ.get("AIRFLOW__SCHEDULER__MP_FORKSERVER_PRELOAD", "")
    if os.environ.get("AIRFLOW__SCHEDULER__MP_START_METHOD") == "forkserver" and preload:
        multiprocessing.set_start_method("forkserver")
        forkserver.set_forkserver_preload(preload.split(","))
        # tasks come with a signed token and must not be able to sign one
        secret = os.environ.pop(_SIGNS_TOKENS, None)
        forkserver.ensure_running()
        if secret is not None:
            os.environ[_SIGNS_TOKENS] = secret
    launch("airflow", "scheduler", *sys.argv[1:])


if __name__ == "__main__":
    main()
