"""The number of threads that a measured process may use."""

from __future__ import annotations

import os

_NAMES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_MAX_THREADS", "ARROW_IO_THREADS")


def threads() -> int:
    """Return the threads of every measured call: ``BENCH_THREADS``, else the number of cores, at most 8."""
    return int(os.environ.get("BENCH_THREADS") or min(len(os.sched_getaffinity(0)), 8))


def thread_environ() -> dict[str, str]:
    """Return the variables that set this number of threads in every library of a process."""
    return {
        "BENCH_THREADS": str(threads()),
        **dict.fromkeys(_NAMES, str(threads())),
        # as in docker/airflow.env: a waiting thread sleeps, also in the references
        "OMP_WAIT_POLICY": "PASSIVE",
    }
