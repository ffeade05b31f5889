"""Tests of background processes: ours are stopped with all their children; foreign ones are never touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from include.stack.processes import Daemon, members, stop
from tests.waiting import HANGS_AFTER_S, until

# one child in its own process group, like Airflow's tasks, and one in its own session, like shell tasks
FAMILY = """
import subprocess, time
subprocess.Popen(["sleep", "3600"], process_group=0)
subprocess.Popen(["sleep", "3600"], start_new_session=True)
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
