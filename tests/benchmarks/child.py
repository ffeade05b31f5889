"""Run as a script: set one call up, then measure it as often as a line arrives on standard input.

Answers are JSON lines on the file descriptor named last; libraries may print what they like.
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
    # what a call has started is stopped at exit, also when it took too long and is told to end
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with os.fdopen(int(answers), "w", buffering=1) as out:
        try:
            # what is imported stays: to look for garbage among it would take a quarter of the time
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
    """One run: wall and CPU seconds, memory before it and at its peak, and its facts."""
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
    """CPU seconds of this process's threads and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _forget_peak() -> None:
    # 5: the peak of resident memory begins anew. ru_maxrss cannot: it even begins with that of the parent
    Path("/proc/self/clear_refs").write_text("5")


def _status(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / MB
    return 0.0


if __name__ == "__main__":
    main(*sys.argv[1:])
