"""Background processes that are started and stopped so that no foreign process is ever signalled.

A record holds the pid *and* the start time of a process, because the kernel may give the same pid to another process
later. Each process starts its own session. Airflow's tasks change their process group but not their session, so
stopping works on sessions.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_SAME_START_S = 0.5


@dataclass(frozen=True)
class Daemon:
    """A background process of the stack, with the files of its record and its log.

    Attributes:
        name: name shown to users; the stem of the file names.
        run_folder: folder of the record, which holds pid and start time.
        log_file: file that receives standard output and error.
    """

    name: str
    run_folder: Path
    log_file: Path

    @property
    def record_file(self) -> Path:
        """Return the file that holds pid and start time."""
        return self.run_folder / f"{self.name}.json"

    def process(self) -> psutil.Process | None:
        """Return the recorded process, or None when it has ended, its pid was reused or the record is broken."""
        try:
            record = json.loads(self.record_file.read_text(encoding="utf-8"))
            process = psutil.Process(int(record["pid"]))
            same = abs(process.create_time() - float(record["started"])) < _SAME_START_S
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except (OSError, ValueError, KeyError, TypeError, psutil.Error):
            return None

    def start(self, command: Sequence[str], environ: Mapping[str, str], folder: Path) -> psutil.Process:
        """Start ``command`` in its own session, detached from the terminal, and write the record."""
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
        """Return the last ``count`` lines of the log file, for an error message."""
        try:
            text = self.log_file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-count:])


def members(leader: psutil.Process) -> list[psutil.Process]:
    """List ``leader``, its descendants and all processes of its session, leader first."""
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


def stop(daemons: Sequence[Daemon], grace_s: float = 10.0) -> list[str]:
    """Stop ``daemons`` at the same time: SIGTERM to each group, SIGKILL to all that still runs after ``grace_s``.

    Returns:
        The names of the daemons that were running.
    """
    running = [(daemon, process) for daemon in daemons if (process := daemon.process())]
    leaders = [leader for _, leader in running]
    family = {process.pid: process for leader in leaders for process in members(leader)}
    for leader in leaders:
        _signal_group(leader.pid, signal.SIGTERM)
    psutil.wait_procs(leaders, timeout=max(grace_s, 0.1))
    # list again: a process that started after the first list is still in the session
    family |= {process.pid: process for leader in leaders for process in members(leader)}
    for process in family.values():
        # psutil compares the start time first, so a process that got the same pid meanwhile is not killed
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(list(family.values()), timeout=5)
    for daemon in daemons:
        daemon.record_file.unlink(missing_ok=True)
    return [daemon.name for daemon, _ in running]


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)
