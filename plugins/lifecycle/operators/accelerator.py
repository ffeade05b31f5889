"""One operator for work on a GPU, on this machine or elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import TaskDeferred

from include.spec.accelerator import AcceleratorSpec, Place
from lifecycle import airflow_private
from lifecycle.links import MlflowRunLink, RemoteJobLink
from lifecycle.operators.base import LifecycleOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.steps.handover import Progress, Usage
    from include.steps.workers import AcceleratorSettings, LocalRun, TrackedRun
    from include.steps.workspace import Workspace
    from lifecycle.operators.remote import Job


class AcceleratorOperator(LifecycleOperator):
    """Run ``python -m module arguments`` on a leased GPU or CPU slot of this machine, or away from it.

    Away from it, the provider's own operator submits the job, waits for it deferred, and fetches its log. The
    worker's usage and its estimated cost are returned, and logged to an MLflow run of the worker.

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
        """Return the module's arguments, known when the task runs."""
        return [str(argument) for argument in self.arguments]

    def progress(self, workspace: Workspace) -> Progress | None:
        """Return the state of the study that the worker served, once the worker has succeeded."""
        return None

    # ---- execute ----------------------------------------------------------------------------------

    def execute(self, context: Context) -> dict[str, Any]:
        from include.steps import workers
        from lifecycle.operators.remote import Job, forwarded_environ, link

        settings = workers.settings()
        place = settings.at(self.accelerator or None)
        workspace = self.workspace()
        arguments = self.worker_arguments(workspace, place)
        tracked = self._track(context, workspace, place)
        if place == "local":
            return self._run_here(context, workspace, settings, arguments, tracked)
        command = workers.command(settings, place, tracked, self.module, arguments)
        job = Job(self.task_id, _attempt(context), command, self.needs, forwarded_environ())

        def submit(delegate: Any) -> None:
            try:
                delegate.execute(context)
            except TaskDeferred:
                RemoteJobLink.save(context, link(place, delegate, settings))
                raise
            RemoteJobLink.save(context, link(place, delegate, settings))

        return self._run_away(settings, place, job, tracked, submit)

    def resume(self, context: Context, event: Any = None, *, saved: dict[str, Any]) -> dict[str, Any]:
        """Go on, with the operator that submitted the job, after the job that this task waited for has ended."""
        from include.steps import workers
        from lifecycle.operators.remote import Job

        needs = AcceleratorSpec.model_validate(saved["job"]["needs"])
        job = Job(**{**saved["job"], "needs": needs})
        method, more = saved["method"], saved["kwargs"]
        return self._run_away(
            workers.settings(),
            saved["place"],
            job,
            workers.TrackedRun(**saved["run"]),
            lambda delegate: getattr(delegate, method)(context=context, event=event, **more),
        )

    def on_kill(self) -> None:
        """End the worker, on this machine and elsewhere."""
        if self._local_run is not None:
            self._local_run.stop()
        if self._delegate is not None:
            self._delegate.on_kill()

    # ---- here -------------------------------------------------------------------------------------

    def _run_here(
        self,
        context: Context,
        workspace: Workspace,
        settings: AcceleratorSettings,
        arguments: list[str],
        tracked: TrackedRun,
    ) -> dict[str, Any]:
        from include.steps import workers

        holder = "/".join(_attempt(context))
        self._local_run = workers.here(
            self.module, arguments, self.needs, settings, holder=holder, line=self.log.info, tracked=tracked
        )
        with _closing(tracked):
            used = workers.run(self._local_run, tracked)
        return self._done(workspace, used)

    # ---- elsewhere --------------------------------------------------------------------------------

    def _run_away(
        self,
        settings: AcceleratorSettings,
        place: Place,
        job: Job,
        tracked: TrackedRun,
        act: Callable[[Any], Any],
    ) -> dict[str, Any]:
        from include.steps import workers
        from lifecycle.operators import remote

        with _closing(tracked):
            self._delegate = delegate = remote.operator(place, job, settings)
            delegate.execution_timeout = self.execution_timeout
            # the task runner refuses an operator that it does not execute itself
            with airflow_private.executing(delegate):
                try:
                    act(delegate)
                except TaskDeferred as waiting:
                    saved = {
                        "place": place,
                        "job": {**asdict(job), "needs": self.needs.model_dump()},
                        "run": asdict(tracked),
                        "method": waiting.method_name,
                        "kwargs": waiting.kwargs or {},
                    }
                    raise TaskDeferred(
                        trigger=waiting.trigger, method_name="resume", kwargs={"saved": saved}, timeout=waiting.timeout
                    ) from waiting
        used = workers.recorded(tracked)
        self.log.info("%s", used or "the worker recorded no usage in MLflow")
        return self._done(self.workspace(), used)

    # ---- both -------------------------------------------------------------------------------------

    def _track(self, context: Context, workspace: Workspace, place: Place) -> TrackedRun:
        from include.steps import workers

        number = context["ti"].map_index
        name = self.task_id if number is None or number < 0 else f"{self.task_id} {number}"
        tracked = workers.track(workspace, self.attempt_of(context, workspace), name, place)
        MlflowRunLink.save(context, tracked.url)
        return tracked

    def _done(self, workspace: Workspace, used: Usage | None) -> dict[str, Any]:
        from include.steps.handover import WorkerDone

        return self.give(WorkerDone(usage=used, progress=self.progress(workspace)))


def _attempt(context: Context) -> tuple[str, ...]:
    ti = context["ti"]
    # with a part of the try's id: a DAG run that is made anew under its old id counts its tries from 1 again
    return ti.dag_id, ti.task_id, ti.run_id, str(ti.map_index), f"{ti.try_number}-{str(ti.id)[-12:]}"


@contextmanager
def _closing(tracked: TrackedRun) -> Iterator[None]:
    """Close the MLflow run when the worker has ended; a run that a deferred task waits for stays open."""
    from include.steps import workers

    try:
        yield
    except TaskDeferred:
        raise
    except BaseException:
        workers.close(tracked, succeeded=False)
        raise
    workers.close(tracked, succeeded=True)
