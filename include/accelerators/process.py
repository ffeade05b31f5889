"""A worker as a process group of its own: started, listened to, stopped as a whole."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import runpy
import select
import signal
import stat
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_GRACE_SECONDS = 3.0  # less than the 5 s after which Airflow kills a task that was asked to stop
_PR_SET_PDEATHSIG = 1
_PARENTS: list[object] = []


@dataclass(frozen=True)
class Ended:
    """How a worker ended: exit code (negative: the signal), CPU seconds and peak memory of its processes."""

    code: int
    cpu_seconds: float
    peak_rss_gb: float


class Worker:
    """A running worker; ``pid`` is also its process group."""

    def __init__(self, pid: int, output: int) -> None:
        self.pid = pid
        self._output = output
        self._rest = b""
        self._ended: Ended | None = None

    def follow(self, line: Callable[[str], None]) -> Ended:
        """Pass each line of output to ``line`` until the worker and all processes that it started have ended."""
        while self._ended is None:
            # a process that the worker left behind may keep the pipe open, so poll the worker too
            ready, _, _ = select.select([self._output], [], [], 0.5)
            open_still = self._pass_on(line) if ready else True
            self._reap(block=not open_still)
        self.stop(grace=0.0)
        self._drain(line)
        os.close(self._output)
        return self._ended

    def stop(self, grace: float = _GRACE_SECONDS) -> None:
        """Ask the whole group to end, and kill what is left of it after ``grace`` seconds."""
        if grace:
            self._signal(signal.SIGTERM)
            end = time.monotonic() + grace
            while self._ended is None and time.monotonic() < end:
                self._reap(block=False)
                time.sleep(0.05)
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            # no group: it has ended, or it has only just been forked
            if self._ended is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, number)

    def _reap(self, block: bool) -> None:
        if self._ended is not None:
            return
        with contextlib.suppress(ChildProcessError):
            pid, status, usage = os.wait4(self.pid, 0 if block else os.WNOHANG)
            if pid:
                seconds = usage.ru_utime + usage.ru_stime
                self._ended = Ended(os.waitstatus_to_exitcode(status), seconds, usage.ru_maxrss / 2**20)

    def _pass_on(self, line: Callable[[str], None]) -> bool:
        chunk = os.read(self._output, 65536)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if not chunk and self._rest:
            lines, self._rest = [*lines, self._rest], b""
        for text in lines:
            line(text.decode(errors="replace").rstrip("\r"))
        return bool(chunk)

    def _drain(self, line: Callable[[str], None]) -> None:
        while select.select([self._output], [], [], 0)[0]:
            if not self._pass_on(line):
                return


def may_fork() -> bool:
    """Return whether this process has one thread: a fork keeps the calling thread only, and no library's pool."""
    try:
        return len(list(Path("/proc/self/task").iterdir())) == 1
    except OSError:
        return False


def start(module: str, arguments: Sequence[str], environ: Mapping[str, str], keep: int, warm: bool) -> Worker:
    """Run ``python -m module arguments`` with exactly ``environ``.

    The worker keeps the descriptor ``keep`` open, leads a process group of its own and is killed when the
    process that started it dies. ``warm`` forks it from this process, with the libraries that are imported
    here, instead of starting Python anew; see :func:`may_fork`.
    """
    output, writes = os.pipe()
    try:
        pid = (_forked if warm else _spawned)(module, arguments, environ, keep, writes)
    finally:
        os.close(writes)
    return Worker(pid, output)


def _spawned(module: str, arguments: Sequence[str], environ: Mapping[str, str], keep: int, writes: int) -> int:
    starter = os.getpid()
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=writes,
        stderr=writes,
        pass_fds=[keep],
        start_new_session=True,
        preexec_fn=lambda: _die_with(starter),
    )
    process.returncode = 0  # Worker reaps the process itself, to read what the process used
    return process.pid


def _forked(module: str, arguments: Sequence[str], environ: Mapping[str, str], keep: int, writes: int) -> int:
    starter = os.getpid()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setsid()
            _die_with(starter)
            _forget_the_parent(environ, keep, writes)
            code = _run(module, arguments)
        finally:
            # run neither the parent's exit handlers nor its finally blocks
            os._exit(code)
    return pid


def _die_with(starter: int) -> None:
    """Have the kernel kill this process when the one that started it is gone, even by SIGKILL."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != starter:
        os._exit(1)


def _forget_the_parent(environ: Mapping[str, str], keep: int, writes: int) -> None:
    """Give a forked process output, signals, environment and logging of its own, as a started process has."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM, signal.SIGUSR2, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(writes, 1)
    os.dup2(writes, 2)
    for descriptor in _connections() - {keep, 0, 1, 2}:
        # replace, do not close: an object that closes the number later must not close a new file
        os.dup2(nothing, descriptor)
    # keep references: a finalizer could close the descriptors, which belong to the worker now
    _PARENTS.extend([sys.stdin, sys.stdout, sys.stderr])
    sys.stdout = open(1, "w", buffering=1, closefd=False, encoding="utf-8")  # noqa: SIM115 - open as long as the process
    sys.stderr = open(2, "w", buffering=1, closefd=False, encoding="utf-8")  # noqa: SIM115
    logging.root.handlers.clear()
    os.environ.clear()
    os.environ.update(environ)


def _connections() -> set[int]:
    """Return the descriptors of sockets and pipes: a peer that waits for end of file must not wait for the worker."""
    found = set()
    for entry in Path("/dev/fd").iterdir():
        with contextlib.suppress(OSError):
            mode = os.fstat(int(entry.name)).st_mode
            if stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode):
                found.add(int(entry.name))
    return found


def _run(module: str, arguments: Sequence[str]) -> int:
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0
