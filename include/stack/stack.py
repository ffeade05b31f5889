"""The embedded stack as a whole: start, stop and state of all its parts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version

from filelock import FileLock, Timeout

from include.core.errors import LifecycleError
from include.core.repository import REPOSITORY
from include.core.settings import KeySettings
from include.registry import keys
from include.stack.environment import service_environ
from include.stack.launch import LAUNCH
from include.stack.layout import Layout
from include.stack.mlflow_login import write_login_settings
from include.stack.pools import ensure_pools
from include.stack.ports import require_free
from include.stack.postgres import Postgres
from include.stack.privacy import close_to_others, private_files
from include.stack.processes import Daemon, kill_orphans, stop
from include.stack.restarts import read_restarts
from include.stack.secrets import load_or_create_secrets, only_needed, write_airflow_passwords
from include.stack.services import Heartbeats, Service, heartbeats, services_of

# a cold start takes under a minute on two idle cores and minutes beside other work; a part that ends is noticed at once
HEALTHY_WITHIN_S = 600.0
_POLL_S = 0.3
# called with the name of a part and its new state: `("scheduler", "starting")`
Report = Callable[[str, str], None]


class StackError(LifecycleError):
    """A part of the stack did not start, or does not run when it is needed."""


@dataclass(frozen=True)
class PartState:
    """State of one part of the stack, PostgreSQL or a service, as `make status` shows it.

    Attributes:
        name: name of the part.
        pid: process id, or None when the part does not run.
        healthy: true if the part passes its health check.
        log: file of the part's output.
        restarts: number and instants of the supervisor's restarts, as text; empty without any.
    """

    name: str
    pid: int | None
    healthy: bool
    log: str
    restarts: str = ""


class Stack:
    """PostgreSQL, Airflow's four components and MLflow of one state folder."""

    def __init__(self, layout: Layout, report: Report | None = None) -> None:
        self.layout = layout
        self.postgres = Postgres(layout)
        self.services = services_of(layout)
        self.supervisor = Daemon("supervisor", layout.run, layout.logs / "supervisor.log")
        self.report: Report = report or (lambda part, doing: None)

    def up(self) -> bool:
        """Start the parts that do not run, wait until all parts are healthy, and create missing Airflow pools.

        Returns:
            True if this call created the secrets, so that the caller shows the passwords once.

        Raises:
            SettingsError: a port is taken or a setting is wrong; nothing was started.
            StackError: a part died or was not healthy in time; names its log.
        """
        self.layout.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with private_files(), self._lock():
            close_to_others(self.layout)
            kill_orphans([service.daemon for service in self.services])
            absent = [service for service in self.services if service.daemon.process() is None]
            self._require_ports(absent)
            self.layout.remember()
            created = not self.layout.secrets_file.exists()
            environ = self._full_environ()
            began = self._start_database()
            self._start([service for service in absent if not service.needs_schema], environ)
            self._migrate(environ)
            self._start([service for service in absent if service.needs_schema], environ)
            self._wait_until_healthy({service.name for service in absent}, environ, began)
            ensure_pools(self.layout)
            self._supervise(anew=bool(absent))
        return created

    def down(self) -> list[str]:
        """Stop all parts, PostgreSQL last, and return the names of those that ran; stored data stays."""
        if not self.layout.home.exists():
            return []
        stopped: list[str] = []
        with self._lock():
            self.report("services", "stopping")
            try:
                # first: it would start the others again
                stopped += stop([self.supervisor])
                stopped += stop([service.daemon for service in self.services])
                self.report("services", "stopped")
            finally:
                self.report("postgres", "stopping")
                if self.postgres.stop():
                    stopped.append("postgres")
                self.report("postgres", "stopped")
        return stopped

    @contextmanager
    def if_idle(self) -> Iterator[bool]:
        """Hold the stack's lock in the block; yield false, without it, while another command holds it."""
        lock = self._lock()
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def ended(self) -> list[str]:
        """Return the names of the parts that do not run, PostgreSQL first."""
        down = [] if self.postgres.is_running() else ["postgres"]
        return down + [service.name for service in self.services if service.daemon.process() is None]

    def start_again(self, name: str) -> None:
        """Start one part that has ended; the caller holds the lock.

        Raises:
            SettingsError: PostgreSQL did not start, or a setting is wrong.
        """
        if name == "postgres":
            self.postgres.start()
            return
        (service,) = (service for service in self.services if service.name == name)
        kill_orphans([service.daemon])
        self._start([service], self._full_environ())

    def require_running(self) -> None:
        """Check that no service has ended for good: a supervisor that runs starts it again.

        Raises:
            StackError: a service has ended; names its log.
        """
        if self.supervisor.process() is not None:
            return
        for service in self.services:
            if service.daemon.process() is None:
                raise StackError(_failure_text(service.daemon, "has ended; run: make up"))

    def status(self) -> list[PartState]:
        """Return the state of every part, PostgreSQL first."""
        pid = self.postgres.pid()
        restarts = read_restarts(self.layout.restarts_file) if self.supervisor.process() else {}
        beats = heartbeats(self.layout)
        parts = [PartState("postgres", pid, pid is not None, str(self.postgres.log_file))]
        parts += [_state(service, beats) for service in self.services]
        watching = self.supervisor.process()
        parts.append(
            PartState("supervisor", watching.pid if watching else None, bool(watching), str(self.supervisor.log_file))
        )
        return [replace(part, restarts=str(restarts.get(part.name, ""))) for part in parts]

    def environ(self) -> dict[str, str]:
        """Return the environment in which the `airflow` command acts on this stack.

        Raises:
            StackError: the stack was never started, so it has no secrets.
        """
        if not self.layout.secrets_file.exists():
            raise StackError(f"{self.layout.home} holds no stack; run: make up")
        secrets, _ = load_or_create_secrets(self.layout.secrets_file)
        return service_environ(self.layout, secrets)

    def _lock(self) -> FileLock:
        # two `make up` at once would start every service twice
        return FileLock(self.layout.home / ".lock")

    def _require_ports(self, absent: list[Service]) -> None:
        names = {service.name for service in absent}
        wanted = {}
        if "api-server" in names:
            wanted["LIFECYCLE_AIRFLOW_PORT"] = self.layout.airflow_port
        if "mlflow" in names:
            wanted["LIFECYCLE_MLFLOW_PORT"] = self.layout.mlflow_port
        require_free(wanted, self.layout.bind)

    def _start_database(self) -> float:
        """Start the database and return the instant of the start, 0 when it ran already."""
        self.report("postgres", "starting")
        began = time.time() if self.postgres.start() else 0.0
        self.postgres.create_databases()
        self.report("postgres", "healthy")
        return began

    def _start(self, services: list[Service], environ: dict[str, str]) -> None:
        for service in services:
            self.report(service.name, "starting")
            service.daemon.start(service.command, only_needed(service.name, environ), REPOSITORY)

    def _full_environ(self) -> dict[str, str]:
        """Return the environment with every secret, and write the files of logins and keys that belong to it."""
        secrets, _ = load_or_create_secrets(self.layout.secrets_file)
        write_airflow_passwords(self.layout.home / "airflow" / "passwords.json", secrets)
        environ = service_environ(self.layout, secrets)
        keys.ensure(KeySettings.read(environ))
        return environ | write_login_settings(self.layout.home / "mlflow" / "auth.ini", environ)

    def _supervise(self, anew: bool) -> None:
        """Start the supervisor; ``anew`` also when it runs, so that it knows this call's environment."""
        if self.supervisor.process() is not None and not anew:
            return
        stop([self.supervisor])
        self.layout.restarts_file.unlink(missing_ok=True)
        # it builds the services' environment as this call did, from the shell's variables and the state folder
        environ = {**os.environ, **self.layout.variables()}
        self.supervisor.start([sys.executable, "-m", "include.stack.supervisor"], environ, REPOSITORY)

    def _migrate(self, environ: dict[str, str]) -> None:
        """Migrate Airflow's schema, unless this version of Airflow has already brought it to this revision."""
        stamp = self.layout.home / "airflow" / "schema.json"
        current = {"airflow": version("apache-airflow-core"), "revision": self._revision()}
        if stamp.exists() and json.loads(stamp.read_text(encoding="utf-8")) == current:
            return
        self.report("schema", "migrating")
        done = subprocess.run(
            [*LAUNCH, "airflow", "db", "migrate"],
            env=environ,
            cwd=REPOSITORY,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if done.returncode != 0:
            raise StackError(f"`airflow db migrate` failed:\n{(done.stderr or done.stdout)[-2000:]}")
        current["revision"] = self._revision()
        stamp.write_text(json.dumps(current), encoding="utf-8")
        self.report("schema", "current")

    def _revision(self) -> str:
        known = self.postgres.query("airflow", "SELECT to_regclass('alembic_version')")
        if not known:
            return ""
        return ",".join(self.postgres.query("airflow", "SELECT version_num FROM alembic_version"))

    def _wait_until_healthy(self, begun: set[str], environ: dict[str, str], since: float) -> None:
        """Wait until every part answers; one that is not in ``begun`` and ends meanwhile is started again.

        A heartbeat counts that is later than ``since``, the start of the database: a part that lost its database may
        end some seconds later.
        """
        waiting = {service.name: service for service in self.services}
        deadline = time.monotonic() + HEALTHY_WITHIN_S
        while waiting:
            beats = heartbeats(self.layout)
            for name, service in list(waiting.items()):
                process = service.daemon.process()
                if process is None and name not in begun:
                    # it ran when this call began, and has ended since, for example because its database was away
                    begun.add(name)
                    kill_orphans([service.daemon])
                    self._start([service], environ)
                    continue
                if process is None:
                    raise StackError(_failure_text(service.daemon, "ended while starting"))
                if service.answers(beats, max(process.create_time(), since)):
                    self.report(name, "healthy")
                    del waiting[name]
            if waiting and time.monotonic() > deadline:
                first = next(iter(waiting.values())).daemon
                names = ", ".join(waiting)
                raise StackError(_failure_text(first, f"not healthy after {HEALTHY_WITHIN_S:.0f} s ({names})"))
            time.sleep(_POLL_S if waiting else 0)


def _state(service: Service, beats: Heartbeats) -> PartState:
    process = service.daemon.process()
    healthy = process is not None and service.answers(beats, process.create_time())
    return PartState(service.name, process.pid if process else None, healthy, str(service.daemon.log_file))


def _failure_text(daemon: Daemon, fault: str) -> str:
    return f"{daemon.name} {fault}; the end of {daemon.log_file}:\n{daemon.last_lines()}"
