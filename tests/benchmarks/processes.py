"""The process in which one call is set up and measured."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from include.core.repository import REPOSITORY
from tests.benchmarks.cases import Call
from tests.benchmarks.limits import thread_environ

ENDS_WITHIN_S = 90.0  # a run that was given up may be in the middle of starting a stack


class Failed(Exception):
    """A call could not be measured; says why in one line, the traceback being in ``detail``."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.detail = detail
        super().__init__(reason)


@dataclass
class Measured:
    """A call's process. A run starts it if it is not there, and ends it where the call wants a fresh one for each.

    Processes that were started before their first run are set up side by side.
    """

    module: str
    call: Call
    _process: subprocess.Popen[bytes] | None = None
    _answers: int = -1
    _is_set_up: bool = False
    _unread: bytes = field(default=b"")

    def start(self) -> None:
        """Start the process if there is none, and let it set itself up."""
        if self._process is not None:
            return
        self._answers, theirs = os.pipe()
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.benchmarks.child", self.module, self.call.function),
                *(json.dumps(dict(self.call.arguments)), str(theirs)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(theirs,),
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'plugins'}", **thread_environ()}
            | dict(self.call.environ),
            start_new_session=True,
        )
        os.close(theirs)

    def wait_until_set_up(self) -> None:
        """Wait until a started process is set up.

        Raises:
            Failed: it raised, died, or took longer than a run may.
        """
        if self._process is not None and not self._is_set_up:
            self._answer(time.monotonic() + self.call.limit_s)
            self._is_set_up = True

    def run(self) -> dict[str, Any]:
        """One measurement.

        Raises:
            Failed: it raised, died, or took longer than it may.
        """
        deadline = time.monotonic() + self.call.limit_s
        self.start()
        self.wait_until_set_up()
        process = self._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.write(b"run\n")
        process.stdin.flush()
        try:
            return self._answer(deadline)
        finally:
            if self.call.fresh:
                self.stop()

    def stop(self) -> None:
        """End the process, and the processes that it has started."""
        process, self._process, self._is_set_up = self._process, None, False
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        os.close(self._answers)
        self._unread = b""

    def _answer(self, deadline: float) -> dict[str, Any]:
        while b"\n" not in self._unread:
            ready, _, _ = select.select([self._answers], [], [], max(deadline - time.monotonic(), 0))
            part = os.read(self._answers, 1 << 16) if ready else None
            if not part:
                self._kill()
                raise Failed(f"no result in {self.call.limit_s:.0f} s" if part is None else "its process died")
            self._unread += part
        line, _, self._unread = self._unread.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            self._kill()
            raise Failed(answer["error"], answer["detail"])
        return answer

    def _kill(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self.stop()
