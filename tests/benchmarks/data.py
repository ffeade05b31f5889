"""Data of the benchmarks: the real flights, and the same replicated with new keys and dates.

Everything is generated into a cache folder when it is first asked for (``var/bench/data``, or ``BENCH_CACHE``)
and is nowhere committed. Run as a script this module makes one data set: in a process of its own, so that the
one that starts the measurements stays small.
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

# share of the rows of each history, the key columns that it is about
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
    """The folder of a data set, generated if it is not there."""
    folder = CACHE / "-".join([name, *map(str, sizes)])
    if not folder.exists():
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.data", str(folder), name, *map(str, sizes)],
            cwd=REPOSITORY,
            env={**os.environ, **thread_environ(), "PYTHONPATH": str(REPOSITORY), "RUST_LOG": "error"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"data set {folder.name} could not be made:\n{done.stderr[-3000:]}")
    return folder


def settings(home: Path, memory: str = "4GB") -> Settings:
    """A deployment whose every part lies in ``home``, with as many threads as a measured call may use."""
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
