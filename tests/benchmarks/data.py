"""Data sets of the benchmarks: the real flights, and copies of them with new keys and dates.

Each data set is generated at its first use into a cache folder (``var/bench/data``, or ``BENCH_CACHE``) and is not
committed. As a script, this module makes one data set in a process of its own, so that the process that starts the
measurements stays small.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from include.core.repository import REPOSITORY
from include.core.settings import Settings
from tests.benchmarks.limits import thread_environ, threads

CACHE = Path(os.environ.get("BENCH_CACHE") or REPOSITORY / "var" / "bench" / "data").resolve()

# by history: its share of the rows, its key columns
HISTORIES = {
    "by_flight": (0.6, ("carrier", "flight")),
    "by_route": (0.3, ("origin", "dest")),
    "by_hour": (0.1, ("origin", "sched_dep_hour")),
}
VALUES = ("flights", "disrupted", "rate", "delay")
# the columns of drift
NUMBERS = tuple(f"n{at:02d}" for at in range(24))
TEXTS = tuple(f"t{at}" for at in range(6))


def made(name: str, *sizes: int) -> Path:
    """Return the folder of a data set; generate the data set if it is missing."""
    folder = CACHE / "-".join([name, *map(str, sizes)])
    if not folder.exists():
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.data", str(folder), name, *map(str, sizes)],
            cwd=REPOSITORY,
            env={**os.environ, **thread_environ(), "PYTHONPATH": str(REPOSITORY), "RUST_LOG": "error"},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"data set {folder.name} could not be made:\n{done.stderr[-3000:]}")
    return folder


def settings(home: Path, memory: str = "4GB") -> Settings:
    """Return the settings of a deployment that lies in ``home``, with the threads of a measured call."""
    return Settings(
        lake_root=str(home / "lake"),
        reports_root=str(home / "reports"),
        work_root=str(home / "work"),
        online_store=str(home / "online.db"),
        feast_registry=f"sqlite:///{home / 'registry.db'}",
        optuna_storage="unused",
        mlflow_tracking_uri="unused",
        source_cache=str(CACHE / "source"),
        threads=threads(),
        memory_limit=memory,
    )


def main(folder: Path, name: str, *sizes: str) -> None:
    """Generate the data set ``name`` and rename it to ``folder`` when it is complete."""
    from tests.benchmarks import generators

    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        getattr(generators, name)(unfinished, *map(int, sizes))
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
