"""Run ``airflow scheduler`` with its warm parent started at once.

Airflow starts the forkserver when the first task is due, and that task then waits for the libraries to be
imported. Started here, the import goes on while the scheduler itself comes up.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing import forkserver

from include.stack.launch import launch


def main() -> None:
    """Start the forkserver as Airflow's settings have it, then become ``airflow scheduler``."""
    preload = os.environ.get("AIRFLOW__SCHEDULER__MP_FORKSERVER_PRELOAD", "")
    if os.environ.get("AIRFLOW__SCHEDULER__MP_START_METHOD") == "forkserver" and preload:
        multiprocessing.set_start_method("forkserver")
        forkserver.set_forkserver_preload(preload.split(","))
        forkserver.ensure_running()
    launch("airflow", "scheduler", *sys.argv[1:])


if __name__ == "__main__":
    main()
