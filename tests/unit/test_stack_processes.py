"""Tests of background processes: ours are stopped with all their children; foreign ones are never touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from include.stack.processes import Daemon, kill_orphans, members, stop
from tests.waiting import HANGS_AFTER_S, until

# one child in its own process group, like Airflow's tasks, and one in its own session, like shell tasks
FAMILY = """
import subprocess, time
subprocess.Popen(["sleep", "3600"], process_group=0)
subprocess.Popen(["sleep", "3600"], start_new_session=True)
time.sleep(3600)
"""
# two children that live on in the session, like MLflow's worker and Airflow's forkserver
FORKING = """
import os, time
for _ in range(2):
    if os.fork() == 0:
        os.setpgid(0, 0)
        break
time.sleep(3600)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(3600)
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon("part", tmp_path / "run", tmp_path / "logs" / "part.log")
    yield daemon
    stop([daemon], grace_s=0.1)


def start(daemon: Daemon, program: str) -> psutil.Process:
    return daemon.start([sys.executable, "-c", program], os.environ, Path("/"))


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def wait_for_members(leader: psutil.Process, count: int) -> list[psutil.Process]:
    def complete() -> list[psutil.Process] | None:
        return found if len(found := members(leader)) >= count else None

    return until(complete, f"a family of {count}")


def test_a_stopped_service_leaves_nobody_behind(daemon: Daemon) -> None:
    family = wait_for_members(start(daemon, FAMILY), 3)
    assert len(family) == 3
    assert stop([daemon], grace_s=2) == ["part"]
    assert all(gone(process) for process in family)
    assert not daemon.record_file.exists()


def test_who_ignores_sigterm_is_killed(daemon: Daemon) -> None:
    process = start(daemon, STUBBORN)
    until(lambda: daemon.last_lines() == "deaf", "a process that ignores SIGTERM")
    stop([daemon], grace_s=0.3)
    assert gone(process)


def test_the_rest_of_a_killed_service_is_found_and_stopped(daemon: Daemon) -> None:
    """A killed MLflow left a child that kept the port, and `make down` did not find it."""
    leader, *rest = wait_for_members(start(daemon, FORKING), 3)
    leader.kill()
    until(lambda: daemon.process() is None, "the end of the leader")
    assert {process.pid for process in daemon.orphans()} == {process.pid for process in rest}
    assert stop([daemon]) == ["part"]
    assert all(gone(process) for process in rest)
    assert not daemon.record_file.exists()


def test_the_rest_is_found_while_the_killed_leader_is_a_zombie(daemon: Daemon) -> None:
    leader, *rest = wait_for_members(start(daemon, FORKING), 3)
    os.kill(leader.pid, signal.SIGKILL)
    until(lambda: leader.status() == psutil.STATUS_ZOMBIE, "a zombie")
    assert kill_orphans([daemon]) == ["part"]
    assert all(gone(process) for process in rest)


@pytest.mark.parametrize("change", [{"program": "/bin/sleep"}, {"folder": "/other"}, {"started": time.time() + 3600}])
def test_another_session_with_the_same_id_is_left_alone(daemon: Daemon, change: dict[str, object]) -> None:
    leader, *rest = wait_for_members(start(daemon, FORKING), 3)
    record = json.loads(daemon.record_file.read_text())
    leader.kill()
    leader.wait()
    daemon.record_file.write_text(json.dumps(record | change))
    assert daemon.orphans() == []
    assert kill_orphans([daemon]) == []
    assert not any(gone(process) for process in rest)
    daemon.record_file.write_text(json.dumps(record))


def test_a_family_that_ends_by_itself_meanwhile_is_no_fault(daemon: Daemon) -> None:
    """`make down` met a process that had just ended, and left PostgreSQL up."""
    for _ in range(20):
        start(daemon, "import os\nfor _ in range(30):\n    os.fork() or os._exit(0)")
        stop([daemon], grace_s=0.1)


def test_files_of_a_service_are_private(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "made"
    start(daemon, f"open({str(file)!r}, 'w')").wait(HANGS_AFTER_S)
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_reused_pid_is_not_ours(daemon: Daemon) -> None:
    with subprocess.Popen(["sleep", "3600"]) as stranger:
        daemon.run_folder.mkdir()
        daemon.record_file.write_text(json.dumps({"pid": stranger.pid, "started": time.time() - 3600}))
        assert daemon.process() is None
        assert stop([daemon]) == []
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize("record", ["", "{}", '{"pid": 4194304, "started": 1}', '{"pid": "x", "started": 1}'])
def test_a_stale_or_broken_record_is_nobody(daemon: Daemon, record: str) -> None:
    daemon.run_folder.mkdir()
    daemon.record_file.write_text(record)
    assert daemon.process() is None
    assert stop([daemon]) == []
    assert not daemon.record_file.exists()


def test_output_goes_to_the_log(daemon: Daemon) -> None:
    start(daemon, "print('one'); print('two')").wait(HANGS_AFTER_S)
    assert daemon.last_lines(1) == "two"
