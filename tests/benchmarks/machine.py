"""What the results were measured on."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from include.stack.environment import code_version
from tests.benchmarks.limits import threads

QUIET_LOAD = 0.5
_PACKAGES = (
    "apache-airflow", "deltalake", "duckdb", "evidently", "feast", "great-expectations", "ibis-framework", "lightgbm",
    "numpy", "optuna", "pandas", "pyarrow", "torch",
)  # fmt: skip


def describe() -> dict[str, Any]:
    """Processor, cores, memory, versions, commit, and how busy the machine was when it was asked."""
    return {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": code_version(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": threads(),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "load_at_start": round(os.getloadavg()[0], 2),
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
