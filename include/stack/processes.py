"""Start and stop background processes so that only our own are ever signalled.

A process is recorded by its pid *and* its start time: a pid that the kernel has given to somebody else
since is not ours. Each starts its own session, and tasks of Airflow change their process group but not
their session, so a session is what is stopped.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_SAME_START_S = 0.5


@dataclass(frozen=True)
class Service:
    """A background process of the stack, identified by files in the run and log folders.

    Attributes:
        name: what people call it; the stem of its files.
        run_folder: folder of the file that records pid and start time.
        log_file: file that receives its standard output and error.
    """

    name: str
    run_folder: Path
    log_file: Path

    @property
    def record_file(self) -> Path:
        """File that records which process this service is."""
        return self.run_folder / f"{self.name}.json"

    def process(self) -> psutil.Process | None:
        """The recorded process if it still runs; a dead or reused pid is nobody."""
        try:
            record = json.loads(self.record_file.read_text(encoding="utf-8"))
            process = psutil.Process(int(record["pid"]))
            same = abs(process.create_time() - float(record["started"])) < _SAME_START_S
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except (OSError, ValueError, KeyError, TypeError, psutil.Error):
            return None

    def start(self, command: Sequence[str], environ: Mapping[str, str], folder: Path) -> psutil.Process:
        """Start ``command`` in its own session, detached from the terminal, and record it."""
        self.run_folder.mkdir(parents=True, exist_ok=True)
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            started = subprocess.Popen(
                command,
                env=dict(environ),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        process = psutil.Process(started.pid)
        draft = self.record_file.with_suffix(".new")
        draft.write_text(json.dumps({"pid": process.pid, "started": process.create_time()}), encoding="utf-8")
        draft.replace(self.record_file)
        return process

    def last_lines(self, count: int = 15) -> str:
        """The end of the log file, for an error message."""
        try:
            text = self.log_file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-count:])


def members(leader: psutil.Process) -> list[psutil.Process]:
    """``leader``, every process of its session and every descendant of it, leader first."""
    found = {leader.pid: leader}
    with suppress(psutil.NoSuchProcess):
        found.update({child.pid: child for child in leader.children(recursive=True)})
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader.pid:
                found.setdefault(process.pid, process)
        except OSError:
            continue
    return list(found.values())


def stop(services: Sequence[Service], grace_s: float = 10.0) -> list[str]:
    """Stop ``services`` side by side: SIGTERM to each group, SIGKILL to what is left after ``grace_s``.

    Returns:
        The names of those that were running.
    """
    running = [(service, process) for service in services if (process := service.process())]
    belonging: dict[int, psutil.Process] = {}
    for _, leader in running:
        belonging.update({process.pid: process for process in members(leader)})
    for _, leader in running:
        _signal_group(leader.pid, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    leaders = [leader for _, leader in running]
    psutil.wait_procs(leaders, timeout=max(deadline - time.monotonic(), 0.1))
    # what was started after the list was made still carries the session
    for leader in leaders:
        belonging.update({process.pid: process for process in members(leader)})
    for process in belonging.values():
        # psutil checks the start time first, so a pid that was given away meanwhile is left alone
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(list(belonging.values()), timeout=5)
    for service in services:
        service.record_file.unlink(missing_ok=True)
    return [service.name for service, _ in running]


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return
