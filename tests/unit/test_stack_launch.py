"""Tests of the launcher: it runs a program like `python -m`, with rare garbage collection."""

from __future__ import annotations

import gc
import json
import os
import subprocess
from pathlib import Path

from include.core.repository import REPOSITORY
from include.stack.launch import LAUNCH

PROGRAM = """
import gc, json, sys
print(json.dumps([__name__, sys.argv[1:], gc.isenabled(), gc.get_threshold()[0]]))
sys.exit(3)
"""


def test_launch_becomes_the_program(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    environ = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{tmp_path}"}
    line = [*LAUNCH, "program", "serve", "--port", "1"]
    done = subprocess.run(line, env=environ, capture_output=True, text=True, check=False)
    name, arguments, collects, threshold = json.loads(done.stdout)
    assert (name, arguments, collects) == ("__main__", ["serve", "--port", "1"], True)
    assert threshold > 10 * gc.get_threshold()[0]
    assert done.returncode == 3
