"""Workers of a step: where one may run, its MLflow run, its run on this machine, and the command of a job elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from include.accelerators import tracking
from include.accelerators.local import LocalRun
from include.accelerators.settings import AcceleratorSettings
from include.accelerators.tracking import TrackedRun
from include.accelerators.usage import Usage
from include.lake.records import Attempt
from include.spec.accelerator import AcceleratorSpec, Place
from include.steps.workspace import Workspace

__all__ = ["AcceleratorSettings", "LocalRun", "TrackedRun"]

JOB = "include.accelerators.job"


def settings() -> AcceleratorSettings:
    """Read from the environment where workers run in this deployment, and what each place must be told.

    Raises:
        SettingsError: a setting is malformed.
    """
    return AcceleratorSettings.from_environ()


def track(workspace: Workspace, attempt: Attempt, name: str, place: Place) -> TrackedRun:
    """Begin the MLflow run of a worker, with tags that name the attempt that started it."""
    tags = {
        "use_case": workspace.case.name,
        "dag_id": attempt.dag_id,
        "dag_run_id": attempt.run_id,
        "attempt": str(attempt.number),
        "place": place,
        "code_version": workspace.settings.code_version,
    }
    experiment = tracking.experiment_of(workspace.case.name)
    return tracking.begin(workspace.settings.mlflow_tracking_uri, experiment, name, tags)


def close(tracked: TrackedRun, succeeded: bool) -> None:
    """Close the MLflow run of a worker that has ended."""
    tracking.end(tracked, succeeded)


def here(
    module: str,
    arguments: Sequence[str],
    needs: AcceleratorSpec,
    deployment: AcceleratorSettings,
    *,
    holder: str,
    line: Callable[[str], None],
    tracked: TrackedRun,
) -> LocalRun:
    """Prepare a worker of this machine, whose system metrics go to ``tracked``; :func:`run` starts it."""
    return LocalRun(
        module, arguments, needs, deployment, holder=holder, line=line,
        watching=lambda: tracking.system_metrics(tracked),
    )  # fmt: skip


def run(worker: LocalRun, tracked: TrackedRun) -> Usage:
    """Run a worker on this machine to its end; a failed worker's usage is recorded too.

    Raises:
        AcceleratorError: no slot fits or is free, the worker failed, or the worker was stopped.
    """
    try:
        used = worker.run()
    finally:
        if worker.used is not None:
            tracking.record(tracked, worker.used)
    return used


def command(
    deployment: AcceleratorSettings, place: Place, tracked: TrackedRun, module: str, arguments: Sequence[str]
) -> tuple[str, ...]:
    """Return the command that runs ``module`` at ``place`` and records its usage in ``tracked``."""
    instance = deployment.values.get("SAGEMAKER_INSTANCE_TYPE", "") if place == "sagemaker" else ""
    price = deployment.prices.get(instance or place)
    record = ["--place", place, "--experiment", tracked.experiment_id, "--run", tracked.run_id]
    if price is not None:
        record += ["--price", str(price)]
    if place == "sagemaker" and (secret := deployment.values.get("SAGEMAKER_SECRET")):
        record += ["--secret", secret]
    return ("python", "-m", JOB, *record, module, *arguments)


def recorded(tracked: TrackedRun) -> Usage | None:
    """Read the usage that a worker elsewhere recorded about itself; None when MLflow has none."""
    return tracking.recorded(tracked)
