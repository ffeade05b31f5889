"""Which processes the stack consists of, and how one tells that each works."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import httpx

from include.stack.launch import LAUNCH
from include.stack.layout import Layout
from include.stack.processes import Service

# how often a component that is healthy may be asked again
_PROBE_TIMEOUT_S = 2.0
_WARM_SCHEDULER = (sys.executable, "-m", "include.stack.warm_scheduler")
# latest heartbeat by component, as seconds since the epoch
Heartbeats = Mapping[str, float]


@dataclass(frozen=True)
class Component:
    """One long-running process.

    Attributes:
        service: its process record and log.
        command: what is executed.
        needs_schema: it reads Airflow's database, so it starts after the migration.
        answers: whether it works, given Airflow's heartbeats and the start of its own process.
    """

    service: Service
    command: tuple[str, ...]
    needs_schema: bool
    answers: Callable[[Heartbeats, float], bool]


def components(layout: Layout) -> list[Component]:
    """The five processes besides PostgreSQL, in the order in which they are shown."""
    # --skip-serve-logs: the API server reads task logs from the shared folder; the log servers of
    # scheduler and triggerer would listen on every interface
    return [
        _mlflow(layout),
        _airflow(layout, "api-server", "metadatabase"),
        _airflow(layout, "scheduler", "scheduler", "--skip-serve-logs"),
        _airflow(layout, "dag-processor", "dag_processor"),
        _airflow(layout, "triggerer", "triggerer", "--skip-serve-logs"),
    ]


def _service(layout: Layout, name: str) -> Service:
    return Service(name, layout.run, layout.logs / f"{name}.log")


def _mlflow(layout: Layout) -> Component:
    hosts = sorted({"localhost", "127.0.0.1", layout.host})
    command = (
        *(*LAUNCH, "mlflow", "server", "--app-name", "basic-auth", "--workers", "1"),
        *("--host", layout.bind, "--port", str(layout.mlflow_port), "--serve-artifacts"),
        *("--allowed-hosts", ",".join(f"{host}:{layout.mlflow_port}" for host in hosts)),
    )
    return Component(_service(layout, "mlflow"), command, False, _page(f"{layout.mlflow_url}/health"))


def _airflow(layout: Layout, name: str, heartbeat: str, *options: str) -> Component:
    def answers(heartbeats: Heartbeats, started: float) -> bool:
        # a heartbeat from before this process began is its predecessor's
        return heartbeats.get(heartbeat, 0.0) > started

    program = _WARM_SCHEDULER if name == "scheduler" else (*LAUNCH, "airflow", name)
    command = (*program, *options)
    return Component(_service(layout, name), command, True, answers)


def _page(url: str) -> Callable[[Heartbeats, float], bool]:
    def answers(_: Heartbeats, __: float) -> bool:
        try:
            return httpx.get(url, timeout=_PROBE_TIMEOUT_S, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    return answers


def heartbeats(layout: Layout) -> Heartbeats:
    """When each Airflow component last reported, by Airflow's own account; empty while nobody answers.

    ``metadatabase`` is the database as the API server sees it, at the time of the call.
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
