"""MLflow runs of workers: what each used, its system metrics, and a page that a task can link to.

Tracking never stops a worker: without an answer of the server the record is missing and training goes on.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.accelerators.usage import Usage

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_log = logging.getLogger(__name__)
_SYSTEM_METRICS_SECONDS = 5
_MOST_WORKERS = 1000


@dataclass(frozen=True)
class TrackedRun:
    """An MLflow run at ``uri``; both ids are empty when the server did not answer."""

    uri: str
    experiment_id: str = ""
    run_id: str = ""

    @property
    def url(self) -> str:
        """Return the address of its page in MLflow's UI; empty for a store without a server."""
        if not self.run_id or not self.uri.startswith("http"):
            return ""
        return f"{self.uri.rstrip('/')}/#/experiments/{self.experiment_id}/runs/{self.run_id}"


def experiment_of(use_case: str) -> str:
    """Return the name of the MLflow experiment that holds the MLflow runs of a use case's workers."""
    return f"{use_case}_workers"


def begin(uri: str, experiment: str, name: str, tags: Mapping[str, str]) -> TrackedRun:
    """Begin a worker's MLflow run in ``experiment``; create the experiment if it is missing."""
    with _tolerant("begin a run"):
        client = _client(uri)
        experiment_id = open_experiment(client, experiment)
        run = client.create_run(experiment_id, tags=dict(tags), run_name=name)
        return TrackedRun(uri, experiment_id, str(run.info.run_id))
    return TrackedRun(uri)


def record(run: TrackedRun, used: Usage) -> None:
    """Log what the worker used."""
    if run.run_id:
        with _tolerant("record usage"):
            from mlflow.entities import Metric, RunTag

            metrics = [Metric(name, value, 0, 0) for name, value in used.metrics().items()]
            tags = [RunTag("place", used.place), RunTag("device", used.device)]
            _client(run.uri).log_batch(run.run_id, metrics=metrics, tags=tags)


def end(run: TrackedRun, succeeded: bool) -> None:
    """Close the MLflow run."""
    if run.run_id:
        with _tolerant("close the run"):
            _client(run.uri).set_terminated(run.run_id, "FINISHED" if succeeded else "FAILED")


def recorded(run: TrackedRun) -> Usage | None:
    """Read what a worker on another machine recorded about itself; None when there is no record."""
    if run.run_id:
        with _tolerant("read usage"):
            return _usage_of(_client(run.uri).get_run(run.run_id))
    return None


def recorded_in(uri: str, use_case: str, dag_run_id: str) -> list[Usage]:
    """Read what every worker of a DAG run recorded, killed and retried ones included."""
    with _tolerant("read the workers' usage"):
        client = _client(uri)
        found = client.get_experiment_by_name(experiment_of(use_case))
        if found is not None:
            wanted = f"tags.dag_run_id = '{dag_run_id}'"
            runs = client.search_runs([found.experiment_id], wanted, max_results=_MOST_WORKERS)
            return [used for run in runs if (used := _usage_of(run)) is not None]
    return []


@contextlib.contextmanager
def system_metrics(run: TrackedRun) -> Iterator[None]:
    """Log this machine's CPU, memory, disk, network and GPU use into the MLflow run while the block runs."""
    monitor: Any = None
    if run.run_id:
        with _tolerant("watch the machine"):
            from mlflow.system_metrics import system_metrics_monitor

            # its messages about start and end are noise in a task's log
            logging.getLogger(system_metrics_monitor.__name__).setLevel(logging.WARNING)
            watch: Any = system_metrics_monitor.SystemMetricsMonitor  # untyped
            monitor = watch(run.run_id, sampling_interval=_SYSTEM_METRICS_SECONDS, tracking_uri=run.uri)
            monitor.start()
    try:
        yield
    finally:
        if monitor is not None:
            with _tolerant("end watching the machine"):
                monitor.finish()


def _usage_of(run: Run) -> Usage | None:
    data = run.data
    return Usage.from_metrics(data.metrics, data.tags.get("place", ""), data.tags.get("device", ""))


def _client(uri: str) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(uri)


def open_experiment(client: MlflowClient, name: str) -> str:
    """Return the id of the MLflow experiment ``name``; create it if it is missing, restore it if it was deleted.

    MLflow keeps a deleted experiment and its name, and takes no MLflow run for it: a training whose experiment was
    deleted in the UI would search for hours and never be registered.
    """
    from mlflow.entities import LifecycleStage
    from mlflow.exceptions import MlflowException

    for attempt in range(2):
        try:
            found = client.get_experiment_by_name(name)
            if found is None:
                return str(client.create_experiment(name))
            if found.lifecycle_stage == LifecycleStage.DELETED:
                client.restore_experiment(found.experiment_id)
                _log.warning("MLflow: experiment %s had been deleted; restored it with its MLflow runs", name)
            return str(found.experiment_id)
        except MlflowException:
            # another process created or restored it meanwhile
            if attempt:
                raise
    raise AssertionError("unreachable")


@contextlib.contextmanager
def _tolerant(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        _log.warning("MLflow: could not %s (%s: %s); the worker goes on without", what, type(error).__name__, error)
