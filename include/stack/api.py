"""A small client of Airflow's REST API, for the demo, the stack and the end-to-end tests."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

from include.core.errors import LifecycleError
from include.stack.layout import Layout
from include.stack.secrets import load_or_create_secrets

Json = dict[str, Any]
FINISHED = frozenset({"success", "failed"})
_PAGE = 100


class ApiError(LifecycleError):
    """Airflow refused a request or does not answer."""

    def __init__(self, message: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)


class RunTimeout(LifecycleError):
    """A DAG run did not finish in time."""


@dataclass(frozen=True)
class AirflowApi:
    """A client that calls as one user; it fetches a token for the first call and again after it expired.

    Attributes:
        url: address of the API server, without ``/api``.
        username: name of the user.
        password: password of the user.
    """

    url: str
    username: str
    password: str = field(repr=False)
    _token: list[str] = field(default_factory=list, repr=False, compare=False)

    @classmethod
    def from_layout(cls, layout: Layout, username: str = "admin") -> AirflowApi:
        """Create the client of an embedded stack, as its ``admin`` or its ``viewer``."""
        secrets, _ = load_or_create_secrets(layout.secrets_file)
        return cls(layout.airflow_url, username, secrets[f"LIFECYCLE_{username.upper()}_PASSWORD"])

    def call(self, method: str, path: str, body: Json | None = None, **query: Any) -> Json:
        """Call ``/api/v2`` + ``path`` and return the JSON of the reply, ``{}`` for an empty reply.

        Raises:
            ApiError: Airflow refused the call (the error has the HTTP status) or does not answer.
        """
        reply = self._request(method, path, body, query)
        if reply.status_code == httpx.codes.UNAUTHORIZED:
            self._token.clear()
            reply = self._request(method, path, body, query)
        if reply.is_error:
            raise ApiError(f"{method} {path}: {reply.status_code} {_reason(reply)}", reply.status_code)
        return dict(reply.json()) if reply.content else {}

    def dags(self) -> list[Json]:
        """List every DAG that Airflow knows, paused ones included."""
        return self._all("/dags", "dags", order_by="dag_id")

    def import_errors(self) -> list[Json]:
        """List the files that the DAG processor could not import: ``filename`` and ``stack_trace``."""
        return self._all("/importErrors", "import_errors")

    def unpause(self, dag_id: str) -> None:
        """Let the scheduler start DAG runs of ``dag_id``."""
        self.call("PATCH", f"/dags/{dag_id}", {"is_paused": False}, update_mask="is_paused")

    def pause(self, dag_id: str) -> None:
        """Keep the scheduler from starting DAG runs of ``dag_id``."""
        self.call("PATCH", f"/dags/{dag_id}", {"is_paused": True}, update_mask="is_paused")

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None, partition_key: str | None = None) -> str:
        """Start a DAG run now, with ``conf`` or for one partition, and return its run id."""
        body: Json = {"logical_date": None, "conf": dict(conf or {})}
        if partition_key is not None:
            body["partition_key"] = partition_key
        return str(self.call("POST", f"/dags/{dag_id}/dagRuns", body)["dag_run_id"])

    def run(self, dag_id: str, run_id: str) -> Json:
        """Get one DAG run: ``state``, ``conf``, ``partition_key``, ``start_date``, ``end_date`` and more."""
        return self.call("GET", f"/dags/{dag_id}/dagRuns/{_quote(run_id)}")

    def runs(self, dag_id: str = "~", **query: Any) -> list[Json]:
        """List the DAG runs of one DAG, or of all DAGs with ``~``, newest first.

        ``query`` holds parameters of the endpoint, for example ``state=...``.
        """
        return self._all(f"/dags/{dag_id}/dagRuns", "dag_runs", **{"order_by": "-run_after", **query})

    def task_instances(self, dag_id: str, run_id: str) -> list[Json]:
        """List the task instances of a DAG run: ``task_id``, ``map_index``, ``state``, ``try_number`` and more."""
        return self._all(f"/dags/{dag_id}/dagRuns/{_quote(run_id)}/taskInstances", "task_instances")

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """Get the value that a task returned, or another XCom of the task by its ``key``."""
        path = f"/dags/{dag_id}/dagRuns/{_quote(run_id)}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.call("GET", path, map_index=map_index, deserialize=False)["value"]

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> list[str]:
        """Get the log lines of one attempt of a task."""
        path = f"/dags/{dag_id}/dagRuns/{_quote(run_id)}/taskInstances/{task_id}/logs/{try_number}"
        content = self.call("GET", path, map_index=map_index, full_content=True).get("content", [])
        return [_line(entry) for entry in content]

    def clear(self, dag_id: str, run_id: str) -> None:
        """Clear the failed tasks of a DAG run, so that they and the tasks after them run again."""
        body: Json = {"dry_run": False, "only_failed": True}
        self.call("POST", f"/dags/{dag_id}/dagRuns/{_quote(run_id)}/clear", body)

    def backfills(self, dag_id: str) -> list[Json]:
        """List the backfills of a DAG; ``completed_at`` is None while a backfill is active."""
        return self._all("/backfills", "backfills", dag_id=dag_id)

    def create_pool(self, name: str, slots: int, description: str) -> bool:
        """Create a pool; return false, and change nothing, when a pool of that name exists."""
        try:
            self.call("POST", "/pools", {"name": name, "slots": slots, "description": description})
        except ApiError as error:
            if error.status != httpx.codes.CONFLICT:
                raise
            return False
        return True

    def wait(
        self,
        dag_id: str,
        run_id: str,
        timeout_s: float,
        poll_s: float = 0.5,
    ) -> str:
        """Poll a DAG run until it has finished; return ``success`` or ``failed``.

        Args:
            dag_id: id of the DAG.
            run_id: id of the DAG run.
            timeout_s: seconds to wait at most.
            poll_s: seconds between two polls.

        Raises:
            RunTimeout: the DAG run has not finished after ``timeout_s``.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            run = self.run(dag_id, run_id)
            if run["state"] in FINISHED:
                return str(run["state"])
            if time.monotonic() > deadline:
                raise RunTimeout(f"{dag_id} {run_id} is still {run['state']} after {timeout_s:.0f} s")
            time.sleep(poll_s)

    def wait_for_dags(self, dag_ids: Sequence[str], timeout_s: float = 600.0) -> None:
        """Poll until the DAG processor has stored ``dag_ids``.

        Raises:
            RunTimeout: names the missing DAGs and the import errors.
        """
        deadline = time.monotonic() + timeout_s
        while missing := set(dag_ids) - {str(dag["dag_id"]) for dag in self.dags()}:
            if time.monotonic() > deadline:
                errors = [f"{fault['filename']}: {fault['stack_trace'][-600:]}" for fault in self.import_errors()]
                shown = "\n".join(errors) or "no import errors"
                raise RunTimeout(f"no DAG {', '.join(sorted(missing))} after {timeout_s:.0f} s\n{shown}")
            time.sleep(0.5)

    def _all(self, path: str, items: str, **query: Any) -> list[Json]:
        found: list[Json] = []
        while True:
            page = self.call("GET", path, limit=_PAGE, offset=len(found), **query)
            found.extend(page[items])
            if not page[items] or len(found) >= page["total_entries"]:
                return found

    def _request(self, method: str, path: str, body: Json | None, query: Mapping[str, Any]) -> httpx.Response:
        try:
            if not self._token:
                self._token.append(self._login())
            return httpx.request(
                method,
                f"{self.url}/api/v2{path}",
                json=body,
                params={name: value for name, value in query.items() if value is not None},
                headers={"Authorization": f"Bearer {self._token[0]}"},
                timeout=60,
                trust_env=False,
            )
        except httpx.HTTPError as error:
            raise ApiError(f"Airflow does not answer at {self.url} ({error}); run: make up") from error

    def _login(self) -> str:
        reply = httpx.post(
            f"{self.url}/auth/token",
            json={"username": self.username, "password": self.password},
            timeout=60,
            trust_env=False,
        )
        if reply.is_error:
            message = f"login as {self.username}: {reply.status_code} {_reason(reply)}"
            raise ApiError(message, reply.status_code)
        return str(reply.json()["access_token"])


def _quote(run_id: str) -> str:
    # run ids contain `+00:00`, and a user may choose a run id with a slash
    return quote(run_id, safe="")


def _reason(reply: httpx.Response) -> str:
    try:
        return str(reply.json().get("detail", reply.text))
    except ValueError:
        return reply.text[:500]


def _line(entry: Any) -> str:
    if isinstance(entry, str):
        return entry
    parts = [str(entry.get(name, "")) for name in ("timestamp", "level", "event")]
    lines = [" ".join(part for part in parts if part)]
    for error in entry.get("error_detail") or []:
        # the last frames are the task's own code; the frames before are Airflow's
        for frame in error.get("frames", [])[-3:]:
            lines.append(f"  {frame['filename']}:{frame['lineno']} in {frame['name']}")
        lines.append(f"{error['exc_type']}: {error['exc_value']}")
    return "\n".join(lines)
