"""Background processes that are started and stopped so that no foreign process is ever signalled.

A record holds the pid *and* the start time of a process, because the kernel may give the same pid to another process
later. Each process starts its own session. Airflow's tasks change their process group but not their session, so
stopping works on sessions. A session outlives its leader: the rest of a killed service is found by the session's id,
which the kernel does not give away while a process has it, and by what it runs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from include.stack.log_files import rotate

# what runs here writes lake, models and logs, which belong to the owner of the stack
PRIVATE = 0o077
_SAME_START_S = 0.5


@dataclass(frozen=True)
class Daemon:
    """A background process of the stack, with the files of its record and its log.

    Attributes:
        name: name shown to users; the stem of the file names.
        run_folder: folder of the record, which holds pid, start time, program and folder.
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
        record = self._record()
        if record is None:
            return None
        try:
            process = psutil.Process(record["pid"])
            same = abs(process.create_time() - record["started"]) < _SAME_START_S
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None

    def orphans(self) -> list[psutil.Process]:
        """List what is left of the recorded process's session after its end; empty while the process runs."""
        record = self._record()
        if record is None or self.process() is not None or _given_away(record):
            return []
        return [process for process in _session(record["pid"]) if _belongs(process, record)]

    def start(self, command: Sequence[str], environ: Mapping[str, str], folder: Path) -> psutil.Process:
        """Start ``command`` in its own session, detached from the terminal, and write the record.

        The files that it creates are private.
        """
        self.run_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.log_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        rotate(self.log_file)
        with self.log_file.open("ab") as log:
            started = subprocess.Popen(
                command,
                env=dict(environ),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=PRIVATE,
            )
        process = psutil.Process(started.pid)
        record = {
            "pid": process.pid,
            "started": process.create_time(),
            "program": os.path.realpath(command[0]),
            "folder": str(folder.resolve()),
        }
        draft = self.record_file.with_suffix(".new")
        draft.write_text(json.dumps(record), encoding="utf-8")
        draft.replace(self.record_file)
        return process

    def last_lines(self, count: int = 15) -> str:
        """Return the last ``count`` lines of the log file, for an error message."""
        try:
            text = self.log_file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-count:])

    def _record(self) -> dict[str, Any] | None:
        try:
            found = json.loads(self.record_file.read_text(encoding="utf-8"))
            return {**found, "pid": int(found["pid"]), "started": float(found["started"])}
        except (OSError, ValueError, KeyError, TypeError):
            return None


def members(leader: psutil.Process) -> list[psutil.Process]:
    """List ``leader``, its descendants and all processes of its session, leader first."""
    found = {leader.pid: leader}
    found.update({child.pid: child for child in _descendants(leader)})
    for process in _session(leader.pid):
        found.setdefault(process.pid, process)
    return list(found.values())


def stop(daemons: Sequence[Daemon], grace_s: float = 10.0) -> list[str]:
    """Stop ``daemons`` at the same time: SIGTERM to each group, SIGKILL to all that still runs after ``grace_s``.

    What is left of a daemon that was killed is killed too.

    Returns:
        The names of the daemons of which something was running.
    """
    leaders = {daemon.name: leader for daemon in daemons if (leader := daemon.process())}
    left = kill_orphans(daemons)
    family = _families(leaders.values())
    for leader in leaders.values():
        _signal_group(leader.pid, signal.SIGTERM)
    _wait(leaders.values(), grace_s)
    # list again: a process that started after the first list is still in the session
    family |= _families(leaders.values())
    _kill(family.values())
    for daemon in daemons:
        daemon.record_file.unlink(missing_ok=True)
    return [daemon.name for daemon in daemons if daemon.name in leaders or daemon.name in left]


def kill_orphans(daemons: Iterable[Daemon]) -> list[str]:
    """Kill what is left of daemons whose recorded process has ended; return the names of those daemons."""
    found = {daemon.name: orphans for daemon in daemons if (orphans := daemon.orphans())}
    together = {one.pid: one for orphans in found.values() for one in orphans}
    for orphan in list(together.values()):
        together.update({child.pid: child for child in _descendants(orphan)})
    _kill(together.values())
    return list(found)


def _session(number: int) -> list[psutil.Process]:
    found = []
    for pid in psutil.pids():
        # a process may end between any two looks
        with suppress(OSError, psutil.Error):
            if os.getsid(pid) == number:
                found.append(psutil.Process(pid))
    return found


def _given_away(record: Mapping[str, Any]) -> bool:
    """Tell whether another process has the recorded pid: then the whole session of the recorded one has ended."""
    try:
        return bool(abs(psutil.Process(record["pid"]).create_time() - record["started"]) >= _SAME_START_S)
    except psutil.Error:
        return False


def _belongs(process: psutil.Process, record: Mapping[str, Any]) -> bool:
    """Tell whether ``process`` is of the session that ``record`` began, and not of a later one with the same id.

    A later one runs another program or runs elsewhere.
    """
    try:
        return bool(
            process.pid != record["pid"]
            and process.create_time() > record["started"] - _SAME_START_S
            and process.uids().real == os.getuid()
            and os.path.realpath(process.exe()) == record.get("program")
            and process.cwd() == record.get("folder")
        )
    except psutil.Error:
        return False


def _families(leaders: Iterable[psutil.Process]) -> dict[int, psutil.Process]:
    return {process.pid: process for leader in leaders for process in members(leader)}


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []


def _kill(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        # psutil compares the start time first, so a process that got the same pid meanwhile is not killed
        with suppress(psutil.NoSuchProcess):
            process.kill()
    _wait(processes, 5)


def _wait(processes: Iterable[psutil.Process], seconds: float) -> None:
    # a process that ends just now may be gone for one look and not for the next
    with suppress(psutil.NoSuchProcess):
        psutil.wait_procs(list(processes), timeout=max(seconds, 0.1))


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)
