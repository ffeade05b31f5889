"""One operator for work on a GPU, wherever that GPU is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import TaskDeferred

from include.spec.accelerator import AcceleratorSpec, Place
from lifecycle.links import MlflowRunLink, RemoteJobLink
from lifecycle.operators.base import LifecycleOperator

if TYPE_CHECKING:
    from include.accelerators.local import LocalRun
    from include.accelerators.settings import AcceleratorSettings
    from include.accelerators.tracking import TrackedRun
    from include.steps.workspace import Workspace
    from lifecycle.operators.remote import Job

JOB = "include.accelerators.job"


class AcceleratorOperator(LifecycleOperator):
    """Run ``python -m module arguments`` on a leased GPU or CPU slot of this machine, or away from it.

    Away from it, the provider's own operator submits the job, waits for it deferred, and fetches its log. What
    the worker used and about what it cost is returned and logged to an MLflow run of its own.

    :param module: module to run; the same one everywhere.
    :param arguments: its arguments.
    :param accelerator: ``local``, ``kubernetes``, ``aws_batch`` or ``sagemaker``; empty for the deployment's own.
    :param needs: what the worker needs of its machine.
    """

    template_fields: Sequence[str] = ("arguments", "accelerator")
    operator_extra_links = (MlflowRunLink(), RemoteJobLink())

    def __init__(
        self,
        *,
        module: str,
        arguments: Any = (),
        accelerator: Any = "{{ params.accelerator }}",
        needs: AcceleratorSpec | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.module = module
        self.arguments = arguments
        self.accelerator = accelerator
        self.needs = needs or AcceleratorSpec()
        self._local_run: LocalRun | None = None
        self._delegate: Any = None

    # ---- what a subclass may say ------------------------------------------------------------------

    def worker_arguments(self, workspace: Workspace, place: Place) -> list[str]:
        """The module's arguments, known when the task runs."""
        return [str(argument) for argument in self.arguments]

    def outcome(self, workspace: Workspace) -> dict[str, Any]:
        """What the task returns besides the usage, once the worker has succeeded."""
        return {}

    # ---- execute ----------------------------------------------------------------------------------

    def execute(self, context: Any) -> dict[str, Any]:
        from include.accelerators.settings import AcceleratorSettings
        from lifecycle.operators.remote import link

        settings = AcceleratorSettings.from_environ()
        place = settings.at(self.accelerator or None)
        workspace = self.workspace()
        arguments = self.worker_arguments(workspace, place)
        run = self._track(context, workspace, place)
        if place == "local":
            return self._run_here(context, workspace, settings, arguments, run)
        job = self._job(context, settings, place, arguments, run)

        def submit(delegate: Any) -> None:
            try:
                delegate.execute(context)
            except TaskDeferred:
                RemoteJobLink.save(context, link(place, delegate, settings))
                raise
            RemoteJobLink.save(context, link(place, delegate, settings))

        return self._run_away(settings, place, job, run, submit)

    def resume(self, context: Any, event: Any = None, *, saved: dict[str, Any]) -> dict[str, Any]:
        """Go on after the job that this task was deferred for has ended, with the operator that submitted it."""
        from include.accelerators.settings import AcceleratorSettings
        from include.accelerators.tracking import TrackedRun
        from lifecycle.operators.remote import Job

        needs = AcceleratorSpec.model_validate(saved["job"]["needs"])
        job = Job(**{**saved["job"], "needs": needs})
        method, more = saved["method"], saved["kwargs"]
        return self._run_away(
            AcceleratorSettings.from_environ(),
            saved["place"],
            job,
            TrackedRun(**saved["run"]),
            lambda delegate: getattr(delegate, method)(context=context, event=event, **more),
        )

    def on_kill(self) -> None:
        if self._local_run is not None:
            self._local_run.stop()
        if self._delegate is not None:
            self._delegate.on_kill()

    # ---- here -------------------------------------------------------------------------------------

    def _run_here(
        self,
        context: Any,
        workspace: Workspace,
        settings: AcceleratorSettings,
        arguments: list[str],
        run: TrackedRun,
    ) -> dict[str, Any]:
        from include.accelerators import tracking
        from include.accelerators.local import LocalRun

        self._local_run = LocalRun(
            self.module,
            arguments,
            self.needs,
            settings,
            holder="/".join(_attempt(context)),
            line=self.log.info,
            watching=lambda: tracking.system_metrics(run),
        )
        with _closing(run):
            try:
                used = self._local_run.run()
            finally:
                if self._local_run.used is not None:
                    tracking.record(run, self._local_run.used)
        return {**self.outcome(workspace), "usage": asdict(used)}

    # ---- elsewhere --------------------------------------------------------------------------------

    def _job(
        self, context: Any, settings: AcceleratorSettings, place: Place, arguments: list[str], run: TrackedRun
    ) -> Job:
        from lifecycle.operators.remote import Job, forwarded_environ

        instance = settings.values.get("SAGEMAKER_INSTANCE_TYPE", "") if place == "sagemaker" else ""
        price = settings.prices.get(instance or place)
        record = ["--place", place, "--experiment", run.experiment_id, "--run", run.run_id]
        if price is not None:
            record += ["--price", str(price)]
        if place == "sagemaker" and (secret := settings.values.get("SAGEMAKER_SECRET")):
            record += ["--secret", secret]
        command = ("python", "-m", JOB, *record, self.module, *arguments)
        return Job(self.task_id, _attempt(context), command, self.needs, forwarded_environ())

    def _run_away(
        self,
        settings: AcceleratorSettings,
        place: Place,
        job: Job,
        run: TrackedRun,
        act: Callable[[Any], Any],
    ) -> dict[str, Any]:
        from include.accelerators import tracking
        from lifecycle.operators import remote

        self._delegate = delegate = remote.operator(place, job, settings)
        delegate.execution_timeout = self.execution_timeout
        with _closing(run), _executing(delegate):
            try:
                act(delegate)
            except TaskDeferred as waiting:
                saved = {
                    "place": place,
                    "job": {**asdict(job), "needs": self.needs.model_dump()},
                    "run": asdict(run),
                    "method": waiting.method_name,
                    "kwargs": waiting.kwargs or {},
                }
                raise TaskDeferred(
                    trigger=waiting.trigger, method_name="resume", kwargs={"saved": saved}, timeout=waiting.timeout
                ) from waiting
        used = tracking.recorded(run)
        self.log.info("%s", used or "the worker recorded no usage in MLflow")
        return {**self.outcome(self.workspace()), "usage": None if used is None else asdict(used)}

    # ---- both -------------------------------------------------------------------------------------

    def _track(self, context: Any, workspace: Workspace, place: Place) -> TrackedRun:
        from include.accelerators import tracking

        ti = context["ti"]
        tags = {
            "use_case": workspace.case.name,
            "dag_id": ti.dag_id,
            "dag_run_id": ti.run_id,
            "attempt": str(ti.try_number),
            "place": place,
            "code_version": workspace.settings.code_version,
        }
        name = f"{self.task_id} {ti.map_index}" if ti.map_index >= 0 else self.task_id
        experiment = tracking.experiment_of(workspace.case.name)
        run = tracking.begin(workspace.settings.mlflow_tracking_uri, experiment, name, tags)
        MlflowRunLink.save(context, run.url)
        return run


def _attempt(context: Any) -> tuple[str, ...]:
    ti = context["ti"]
    return ti.dag_id, ti.task_id, ti.run_id, str(ti.map_index), str(ti.try_number)


@contextmanager
def _closing(run: TrackedRun) -> Iterator[None]:
    """Close the MLflow run when the worker has ended; one that a deferred task waits for stays open."""
    from include.accelerators import tracking

    try:
        yield
    except TaskDeferred:
        raise
    except BaseException:
        tracking.end(run, succeeded=False)
        raise
    tracking.end(run, succeeded=True)


@contextmanager
def _executing(delegate: Any) -> Iterator[None]:
    """Let the task runner's guard know that ``delegate`` is what this task executes, as it does for us."""
    from airflow.sdk.bases.operator import ExecutorSafeguard

    before = ExecutorSafeguard.tracker.set(delegate)
    try:
        yield
    finally:
        ExecutorSafeguard.tracker.reset(before)
