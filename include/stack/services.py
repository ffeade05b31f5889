"""The long-running services of the stack beside PostgreSQL: command, log and health check of each."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import httpx

from include.stack.launch import LAUNCH
from include.stack.layout import Layout
from include.stack.processes import Daemon

# a health page that needs longer counts as no answer; the caller asks again
_PROBE_TIMEOUT_S = 2.0
_WARM_SCHEDULER = (sys.executable, "-m", "include.stack.warm_scheduler")
# latest heartbeat by Airflow's name of a component, in seconds since the epoch
Heartbeats = Mapping[str, float]


@dataclass(frozen=True)
class Service:
    """One long-running service.

    Attributes:
        daemon: the background process with its record and log.
        command: command line of the process.
        needs_schema: true if the service reads Airflow's database, so that it starts after the migration.
        answers: health check; takes Airflow's heartbeats and the start of the service's process, in seconds since
            the epoch.
    """

    daemon: Daemon
    command: tuple[str, ...]
    needs_schema: bool
    answers: Callable[[Heartbeats, float], bool]

    @property
    def name(self) -> str:
        """Return the name shown to users."""
        return self.daemon.name


def services_of(layout: Layout) -> list[Service]:
    """List the five services beside PostgreSQL, in the order of `make status`."""
    # --skip-serve-logs: the API server reads task logs from the shared folder; the log servers of
    # scheduler and triggerer would listen on every interface
    return [
        _mlflow(layout),
        _airflow(layout, "api-server", "metadatabase"),
        _airflow(layout, "scheduler", "scheduler", "--skip-serve-logs"),
        _airflow(layout, "dag-processor", "dag_processor"),
        _airflow(layout, "triggerer", "triggerer", "--skip-serve-logs"),
    ]


def _daemon(layout: Layout, name: str) -> Daemon:
    return Daemon(name, layout.run, layout.logs / f"{name}.log")


def _mlflow(layout: Layout) -> Service:
    hosts = sorted({"localhost", "127.0.0.1", layout.host})
    command = (
        *(*LAUNCH, "mlflow", "server", "--app-name", "basic-auth", "--workers", "1"),
        *("--host", layout.bind, "--port", str(layout.mlflow_port), "--serve-artifacts"),
        *("--allowed-hosts", ",".join(f"{host}:{layout.mlflow_port}" for host in hosts)),
    )
    return Service(_daemon(layout, "mlflow"), command, False, _page_answers(f"{layout.mlflow_url}/health"))


def _airflow(layout: Layout, name: str, heartbeat: str, *options: str) -> Service:
    def answers(heartbeats: Heartbeats, started: float) -> bool:
        # an older heartbeat comes from the process that ran before this one
        return heartbeats.get(heartbeat, 0.0) > started

    program = _WARM_SCHEDULER if name == "scheduler" else (*LAUNCH, "airflow", name)
    command = (*program, *options)
    return Service(_daemon(layout, name), command, True, answers)


def _page_answers(url: str) -> Callable[[Heartbeats, float], bool]:
    def answers(_: Heartbeats, __: float) -> bool:
        try:
            return httpx.get(url, timeout=_PROBE_TIMEOUT_S, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    return answers


def heartbeats(layout: Layout) -> Heartbeats:
    """Ask Airflow's API server for the last heartbeat of each component; empty while the server does not answer.

    ``metadatabase`` is the database as the API server sees it, with the time of this call.
    """
    url = f"{layout.airflow_url}/api/v2/monitor/health"
    try:
        body = httpx.get(url, timeout=_PROBE_TIMEOUT_S, trust_env=False).json()
    except (httpx.HTTPError, ValueError):
        return {}
    found = {}
    for name, value in body.items():
        if (value or {}).get("status") != "healthy":
            continue
        beat = value.get(f"latest_{name}_heartbeat")
        found[name] = datetime.fromisoformat(beat).timestamp() if beat else time.time()
    return found
