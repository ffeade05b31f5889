"""The process that sets one call up and measures it each time a line arrives on standard input.

Answers are JSON lines on the file descriptor that the last argument names, so that libraries may print to stdout.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.benchmarks.cases import Work

MB = 1024 * 1024


def main(module: str, function: str, arguments: str, answers: str) -> None:
    """Set up ``function`` of a benchmark's ``module`` with JSON ``arguments``, and answer on descriptor ``answers``."""
    # exit on SIGTERM, so that `atexit` stops the processes that a call has started, also after a timeout
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with os.fdopen(int(answers), "w", buffering=1, encoding="utf-8") as out:
        try:
            # imported objects stay: collecting garbage among them would take a quarter of the time
            gc.disable()
            work: Work = getattr(import_module(f"tests.benchmarks.{module}"), function)(**json.loads(arguments))
            gc.enable()
            print(json.dumps({"ready": True}), file=out)
            for _ in sys.stdin:
                print(json.dumps(measure(work)), file=out)
        except BaseException as error:
            reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            print(json.dumps({"error": reason, "detail": traceback.format_exc(limit=-6)}), file=out)
            raise


def measure(work: Work) -> dict[str, Any]:
    """Measure one run: wall and CPU seconds, peak memory and growth of memory in MB, and the facts."""
    work.before()
    gc.collect()
    _forget_peak()
    loaded, cpu, began = _status("VmRSS"), _cpu(), time.perf_counter()
    facts = work.run() or {}
    seconds, used, peak = time.perf_counter() - began, _cpu() - cpu, _status("VmHWM")
    return {
        "seconds": seconds,
        "cpu": used,
        "peak": peak,
        "memory": max(peak - loaded, 0.0),
        "facts": {**facts, **work.after()},
    }


def _cpu() -> float:
    """Return the CPU seconds of this process's threads and of its ended children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _forget_peak() -> None:
    # writing 5 resets the peak of resident memory; ru_maxrss cannot be reset and starts with the parent's peak
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def _status(name: str) -> float:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / MB
    return 0.0


if __name__ == "__main__":
    main(*sys.argv[1:])
