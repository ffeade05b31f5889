"""The Airflow pool that bounds how many search workers this machine runs at once."""

from __future__ import annotations

import os
import subprocess

from include.stack.api import AirflowApi
from include.stack.layout import Layout


def gpu_count() -> int:
    """Return the number of GPUs that the driver reports; 0 without a driver."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, encoding="utf-8", timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def ensure_pools(layout: Layout) -> dict[str, int]:
    """Create the pool ``gpu`` if it is missing; an existing pool keeps its size, which a user may have changed.

    Returns:
        Slots by pool: one slot a GPU, or one a CPU core on a machine without GPU, so that the same DAG searches on
        both.
    """
    gpus = gpu_count()
    slots = gpus or len(os.sched_getaffinity(0))
    reason = f"{gpus} GPU(s), one task each" if gpus else "no GPU: one search worker a CPU core"
    AirflowApi.from_layout(layout).create_pool("gpu", slots, reason)
    return {"gpu": slots}
