"""Airflow pools that bound what this machine's hardware can do at once."""

from __future__ import annotations

import os
import subprocess

from include.stack.api import AirflowApi
from include.stack.layout import Layout


def gpu_count() -> int:
    """GPUs that the driver reports; 0 without a driver."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def ensure_pools(layout: Layout) -> dict[str, int]:
    """Create the pools that are missing; one whose size somebody has changed stays as it is.

    Returns:
        Slots by pool, as wanted: ``gpu`` holds one slot a GPU, or, without any, one a CPU core, so that
        the same DAG searches on both.
    """
    gpus = gpu_count()
    slots = gpus or len(os.sched_getaffinity(0))
    reason = f"{gpus} GPU(s), one task each" if gpus else "no GPU: one search worker a CPU core"
    AirflowApi.from_layout(layout).create_pool("gpu", slots, reason)
    return {"gpu": slots}
