"""Bring the embedded stack up, take it down, say how it is."""

from __future__ import annotations

import fcntl
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version

from include.core.errors import LifecycleError
from include.core.repository import REPOSITORY
from include.stack.environment import service_environ
from include.stack.launch import LAUNCH
from include.stack.layout import Layout
from include.stack.mlflow_login import write_login_settings
from include.stack.ports import require_free
from include.stack.postgres import Postgres
from include.stack.processes import Service, stop
from include.stack.secrets import load_or_create, write_airflow_passwords
from include.stack.services import Component, Heartbeats, components, heartbeats

# a cold start on two busy cores takes under a minute; three tell a slow machine from a broken one
HEALTHY_WITHIN_S = 180.0
_POLL_S = 0.3
# what a part is doing and what it does now: `("scheduler", "starting")`
Report = Callable[[str, str], None]


class StackError(LifecycleError):
    """A part of the stack did not start, or does not run when it is needed."""


@dataclass(frozen=True)
class PartState:
    """One part of the stack as `status` shows it.

    Attributes:
        name: the part.
        pid: its process, or None when it does not run.
        healthy: whether it does its work.
        log: file of its output.
    """

    name: str
    pid: int | None
    healthy: bool
    log: str


class Stack:
    """PostgreSQL, Airflow's four components and MLflow of one state folder."""

    def __init__(self, layout: Layout, report: Report | None = None) -> None:
        self.layout = layout
        self.postgres = Postgres(layout)
        self.components = components(layout)
        self.report: Report = report or (lambda part, doing: None)

    def up(self) -> bool:
        """Start what does not run and wait until everything is healthy; what runs is left alone.

        Returns:
            Whether the secrets were created by this call (so that passwords are shown once).

        Raises:
            SettingsError: a port is taken, a setting is wrong; nothing was started.
            StackError: a part died or was not healthy in time; names its log.
        """
        # lake, models and logs are the owner's; the database's own user is let through where it must be
        self.layout.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.layout.logs.mkdir(mode=0o700, exist_ok=True)
        with self._alone():
            absent = [part for part in self.components if part.service.process() is None]
            self._require_ports(absent)
            self.layout.remember()
            secrets, created = load_or_create(self.layout.secrets_file)
            write_airflow_passwords(self.layout.home / "airflow" / "passwords.json", secrets)
            environ = service_environ(self.layout, secrets)
            environ |= write_login_settings(self.layout.home / "mlflow" / "auth.ini", environ)
            self._start_database()
            self._start([part for part in absent if not part.needs_schema], environ)
            self._migrate(environ)
            self._start([part for part in absent if part.needs_schema], environ)
            self._wait_until_healthy()
        return created

    def down(self) -> list[str]:
        """Stop everything, PostgreSQL last; returns the names of what ran. Nothing stored is lost."""
        if not self.layout.home.exists():
            return []
        with self._alone():
            self.report("services", "stopping")
            stopped = stop([part.service for part in self.components])
            self.report("services", "stopped")
            self.report("postgres", "stopping")
            if self.postgres.stop():
                stopped.append("postgres")
            self.report("postgres", "stopped")
        return stopped

    def require_running(self) -> None:
        """Check that no process of the stack has ended.

        Raises:
            StackError: one has; names its log.
        """
        for part in self.components:
            if part.service.process() is None:
                raise StackError(_epitaph(part.service, "has ended; run: make up"))

    def status(self) -> list[PartState]:
        """The state of every part, PostgreSQL first."""
        database = PartState("postgres", self.postgres.pid(), self.postgres.is_running(), str(self.postgres.log_file))
        beats = heartbeats(self.layout)
        return [database, *(self._state(part, beats) for part in self.components)]

    def environ(self) -> dict[str, str]:
        """The environment in which the `airflow` command acts on this stack.

        Raises:
            StackError: the stack was never started, so it has no secrets.
        """
        if not self.layout.secrets_file.exists():
            raise StackError(f"{self.layout.home} holds no stack; run: make up")
        secrets, _ = load_or_create(self.layout.secrets_file)
        return service_environ(self.layout, secrets)

    def _state(self, part: Component, beats: Heartbeats) -> PartState:
        process = part.service.process()
        healthy = process is not None and part.answers(beats, process.create_time())
        log = str(part.service.log_file)
        return PartState(part.service.name, process.pid if process else None, healthy, log)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Two `make up` at once would start everything twice."""
        with (self.layout.home / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _require_ports(self, absent: list[Component]) -> None:
        names = {part.service.name for part in absent}
        wanted = {}
        if "api-server" in names:
            wanted["LIFECYCLE_AIRFLOW_PORT"] = self.layout.airflow_port
        if "mlflow" in names:
            wanted["LIFECYCLE_MLFLOW_PORT"] = self.layout.mlflow_port
        require_free(wanted, self.layout.bind)

    def _start_database(self) -> None:
        self.report("postgres", "starting")
        self.postgres.start()
        self.postgres.create_databases()
        self.report("postgres", "healthy")

    def _start(self, parts: list[Component], environ: dict[str, str]) -> None:
        for part in parts:
            self.report(part.service.name, "starting")
            part.service.start(part.command, environ, REPOSITORY)

    def _migrate(self, environ: dict[str, str]) -> None:
        """Bring Airflow's schema up to date; skipped when this very version has done so already."""
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
            text=True,
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

    def _wait_until_healthy(self) -> None:
        waiting = {part.service.name: part for part in self.components}
        deadline = time.monotonic() + HEALTHY_WITHIN_S
        while waiting:
            beats = heartbeats(self.layout)
            for name, part in list(waiting.items()):
                process = part.service.process()
                if process is None:
                    raise StackError(_epitaph(part.service, "ended while starting"))
                if part.answers(beats, process.create_time()):
                    self.report(name, "healthy")
                    del waiting[name]
            if waiting and time.monotonic() > deadline:
                first = next(iter(waiting.values())).service
                names = ", ".join(waiting)
                raise StackError(_epitaph(first, f"not healthy after {HEALTHY_WITHIN_S:.0f} s ({names})"))
            time.sleep(_POLL_S if waiting else 0)


def _epitaph(service: Service, what: str) -> str:
    return f"{service.name} {what}; the end of {service.log_file}:\n{service.last_lines()}"
