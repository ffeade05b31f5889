"""How much of the machine a measured process may use."""

from __future__ import annotations

import os

_NAMES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_MAX_THREADS", "ARROW_IO_THREADS")


def threads() -> int:
    """Threads of every measured call: ``BENCH_THREADS``, else as many as there are cores, at most 8."""
    return int(os.environ.get("BENCH_THREADS") or min(len(os.sched_getaffinity(0)), 8))


def thread_environ() -> dict[str, str]:
    """The variables that give a process that number of threads, whatever it was told before."""
    return {
        "BENCH_THREADS": str(threads()),
        **dict.fromkeys(_NAMES, str(threads())),
        # as docker/airflow.env has it: a waiting thread sleeps, for the reference too
        "OMP_WAIT_POLICY": "PASSIVE",
    }
