"""A real S3 (moto's) or a real MLflow server whose answers a test spoils; a process of its own.

Delta's log keeps Python waiting while it reads, so a server in the process of the test would never answer. The test
writes a rule into a file; the server reads it at each request:

``none``
    Answer as the server does.
``throttle``
    Answer the first request to each address with 503, as S3 does when it is asked too often.
``lose``
    Do what the first request to each address asks, and answer 500 nevertheless; only requests that write.
``deny``
    Answer 403 to every request that writes.

It notes each request whose answer it has spoilt, so that a test can tell that there were some.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Answer = Iterable[bytes]
Server = Callable[[dict[str, Any], Callable[..., Any]], Answer]
SLOW = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
RULE, SPOILT = "rule", "spoilt"
WRITES = ("PUT", "POST", "DELETE", "PATCH")


@dataclass(frozen=True)
class Running:
    """A server that runs: its port, and the folder of its files, in which one says what it does wrong."""

    port: int
    folder: Path

    def do(self, rule: str) -> None:
        (self.folder / RULE).write_text(rule, encoding="utf-8")

    def spoilt(self, rule: str) -> list[str]:
        """Return method and path of each request whose answer was spoilt under ``rule``."""
        lines = (self.folder / SPOILT).read_text(encoding="utf-8").splitlines()
        return [line.removeprefix(f"{rule} ") for line in lines if line.startswith(f"{rule} ")]


@contextmanager
def running(kind: str, folder: Path) -> Iterator[Running]:
    """Run the server ``kind`` with its files in ``folder``."""
    (folder / RULE).write_text("none", encoding="utf-8")
    (folder / SPOILT).touch()
    environ = {**os.environ, "PYTHONPATH": ".:plugins"}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.faults.faulty_server", kind, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=environ,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        port = next(int(line.split()[1]) for line in lines if line.startswith("port "))
        try:
            yield Running(port, folder)
        finally:
            process.kill()


class Faulty:
    """A WSGI application that spoils the answers of another one."""

    def __init__(self, server: Server, folder: Path) -> None:
        self._server, self._folder, self._seen = server, folder, set[tuple[str, str, str]]()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Answer:
        rule = (self._folder / RULE).read_text(encoding="utf-8")
        request = (rule, environ["REQUEST_METHOD"], environ["PATH_INFO"])
        first = request not in self._seen
        self._seen.add(request)
        writes = environ["REQUEST_METHOD"] in WRITES and not environ["PATH_INFO"].endswith("/search")
        if rule == "throttle" and first:
            self._note(request)
            _read(environ)
            return _refuse(start, "503 Slow Down", SLOW)
        if rule == "deny" and writes:
            self._note(request)
            _read(environ)
            return _refuse(start, "403 Forbidden", DENIED)
        if rule == "lose" and first and writes:
            self._note(request)
            list(self._server(environ, lambda *_: lambda _: None))
            return _refuse(start, "500 Internal Server Error", b"")
        return self._server(environ, start)

    def _note(self, request: tuple[str, str, str]) -> None:
        with (self._folder / SPOILT).open("a", encoding="utf-8") as file:
            file.write(f"{' '.join(request)}\n")


def _read(environ: dict[str, Any]) -> None:
    """Read the request to its end: a client that still sends would see a broken connection instead of the answer."""
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))


def _refuse(start: Callable[..., Any], status: str, body: bytes) -> Answer:
    start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]


def _s3() -> Server:
    from moto.server import DomainDispatcherApplication, create_backend_app

    found: Server = DomainDispatcherApplication(create_backend_app)
    return found


def _mlflow(folder: Path) -> Server:
    os.environ["_MLFLOW_SERVER_FILE_STORE"] = f"sqlite:///{folder / 'mlflow.db'}"
    os.environ["_MLFLOW_SERVER_SERVE_ARTIFACTS"] = "true"
    os.environ["_MLFLOW_SERVER_ARTIFACT_DESTINATION"] = str(folder / "artifacts")
    os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] = "mlflow-artifacts:/"
    from mlflow.server import app

    found: Server = app.wsgi_app
    return found


def main() -> None:
    """Serve until this process is killed."""
    from werkzeug.serving import make_server

    kind, folder = sys.argv[1], Path(sys.argv[2])
    server = _s3() if kind == "s3" else _mlflow(folder)
    made = make_server("127.0.0.1", 0, Faulty(server, folder), threaded=True)
    print("port", made.server_port, flush=True)
    made.serve_forever()


if __name__ == "__main__":
    main()
