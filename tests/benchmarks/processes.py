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

ENDS_WITHIN_S = 90.0  # a measurement that timed out may be in the middle of starting a stack


class Failed(Exception):
    """A call could not be measured; the message is the reason in one line, ``detail`` the traceback."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.detail = detail
        super().__init__(reason)


@dataclass
class Measured:
    """The process of one call. ``run`` starts the process if needed, and ends it if the call wants fresh processes.

    Several processes that are started before their first ``run`` set themselves up in parallel.
    """

    module: str
    call: Call
    _process: subprocess.Popen[bytes] | None = None
    _answers: int = -1
    _is_set_up: bool = False
    _unread: bytes = field(default=b"")

    def start(self) -> None:
        """Start the process, which sets itself up; does nothing if the process runs."""
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
            Failed: the process raised an error, died, or exceeded the call's time limit.
        """
        if self._process is not None and not self._is_set_up:
            self._answer(time.monotonic() + self.call.limit_s)
            self._is_set_up = True

    def run(self) -> dict[str, Any]:
        """Measure the call once.

        Raises:
            Failed: the process raised an error, died, or exceeded the call's time limit.
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
        """End the process and the processes that it has started."""
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
