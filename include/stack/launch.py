"""Run a program of the stack as ``python -m`` would, without a search for garbage among what it imports.

``python -m include.stack.launch airflow api-server`` is ``python -m airflow api-server``. By default Python looks
for garbage cycles whenever 700 more objects were made than went away. An import makes hundreds of thousands, all to
stay: the searches were a fifth to a quarter of the time that the imports take. They go on here, less often, for as
long as the program runs.
"""

from __future__ import annotations

import gc
import runpy
import sys

LAUNCH = (sys.executable, "-m", "include.stack.launch")
# objects more before the young are looked through; rounds before the older are
_RARELY = (20_000, 20, 20)


def launch(module: str, *arguments: str) -> None:
    """Become ``python -m module`` with ``arguments``."""
    gc.set_threshold(*_RARELY)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    launch(*sys.argv[1:])
