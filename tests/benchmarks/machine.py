"""The description of the machine that the results were measured on."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from include.stack.environment import code_version
from tests.benchmarks.data import CACHE
from tests.benchmarks.limits import threads

QUIET_LOAD = 0.5
_FILES = 1_000
_PACKAGES = (
    "apache-airflow", "deltalake", "duckdb", "evidently", "feast", "great-expectations", "ibis-framework", "lightgbm",
    "numpy", "optuna", "pandas", "pyarrow", "torch",
)  # fmt: skip


def describe() -> dict[str, Any]:
    """Describe the machine: processor, cores, memory, versions, commit, and the load at this moment."""
    return {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": code_version(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": threads(),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "file_us": round(_seconds_a_file() * 1e6),
        "load_at_start": round(os.getloadavg()[0], 2),
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def _seconds_a_file() -> float:
    """Measure the creation of a small file in its own folder beside the data: some rows cost little else."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        began = time.perf_counter()
        for number in range(_FILES):
            made = Path(folder, f"ds={number}")
            made.mkdir()
            (made / "part").write_bytes(bytes(8_192))
        return (time.perf_counter() - began) / _FILES


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
