"""A process whose clock is wrong by weeks: what is newest, and what may be deleted, does not depend on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from include.core.repository import REPOSITORY
from include.lake.lake import Lake
from include.lake.records import Attempt
from tests.unit.small_source import DAY, NEXT

pytestmark = pytest.mark.fault

TABLE = "flights/raw/tiny"
FAKETIME = shutil.which("faketime")
needs_faketime = pytest.mark.skipif(
    FAKETIME is None, reason="libfaketime is missing (Debian: apt-get install faketime)"
)


def publish(root: str, value: int, run_id: str, keys: tuple[str, ...] = (DAY,)) -> tuple[str, ...]:
    lake, by = Lake(root), Attempt("flights", "flights_ingest", run_id)
    rows = pa.table({"value": [value] * len(keys), "ds": list(keys)})
    return lake.publish(lake.stage(TABLE, rows.to_reader(), keys, by, ()), by).published


def with_clock(offset: str, program: str, *arguments: str) -> None:
    """Run ``program`` in a process whose clock differs by ``offset``, and check that it does."""
    check = f"import time; assert abs(time.time() - {time.time()}) > 30 * 86400\n"
    # what machines have is a wrong wall clock: monotonic clocks and the times of files are right
    right = {"DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
    environ = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'plugins'}", **right}
    command = [str(FAKETIME), "-f", offset, sys.executable, "-c", check + program, *arguments]
    done = subprocess.run(command, env=environ, cwd=REPOSITORY, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


PUBLISH = "import sys; from tests.faults.test_clock import publish; publish(sys.argv[1], 2, 'skewed')"


@needs_faketime
@pytest.mark.parametrize("offset", ["+40d", "-40d"])
def test_the_newest_publish_is_the_last_one_whatever_its_clock_says(tmp_path: Path, offset: str) -> None:
    root = str(tmp_path / "lake")
    publish(root, 1, "before", (DAY, NEXT))
    with_clock(offset, PUBLISH, root)
    lake = Lake(root)
    assert lake.records(TABLE)[DAY].attempt.run_id == "skewed"
    assert lake.dataset(TABLE, [DAY]).to_table()["value"].to_pylist() == [2]
    assert publish(root, 3, "after") == (DAY,)
    assert lake.records(TABLE)[DAY].attempt.run_id == "after"
    assert lake.dataset(TABLE).to_table()["value"].to_pylist() == [3, 1]


VACUUM = """
import sys
import time
from pathlib import Path
from include.steps import maintenance
from tests.unit.small_source import small_workspace
maintenance.vacuum(small_workspace(Path(sys.argv[1]), "SELECT 1"), 168, dry_run=False)
"""


@needs_faketime
def test_a_maintenance_of_the_future_deletes_no_row_that_is_read(tmp_path: Path) -> None:
    """For it every stage and every replaced file is old enough; what is current is never deleted."""
    root = str(tmp_path / "lake")
    publish(root, 1, "before", (DAY, NEXT))
    publish(root, 2, "correction")
    lake, by = Lake(root), Attempt("flights", "flights_ingest", "under way")
    stage = lake.stage(TABLE, pa.table({"value": [3], "ds": [NEXT]}).to_reader(), [NEXT], by, ())
    with_clock("+40d", VACUUM, str(tmp_path))
    assert lake.dataset(TABLE).to_table()["value"].to_pylist() == [2, 1]
    # the stage of a DAG run that was under way is gone, and its next task says so
    with pytest.raises(Exception, match="holds no finished stage; clear the task"):
        lake.open_stage(stage.path)
