"""A launcher that runs a program of the stack like ``python -m``, with rare garbage collection.

``python -m include.stack.launch airflow api-server`` equals ``python -m airflow api-server``. By default Python
collects garbage whenever 700 more objects were created than freed. Imports create hundreds of thousands of objects
that all stay, and the collections took 20 to 25 % of the import time. Collection stays on here, but runs less often
for the whole life of the program.
"""

from __future__ import annotations

import gc
import runpy
import sys

LAUNCH = (sys.executable, "-m", "include.stack.launch")
# thresholds of the three generations: 20,000 new objects, then 20 collections of the generation before
_RARELY = (20_000, 20, 20)


def launch(module: str, *arguments: str) -> None:
    """Run ``module`` as ``python -m`` does, with ``arguments``, in this process."""
    gc.set_threshold(*_RARELY)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    launch(*sys.argv[1:])
