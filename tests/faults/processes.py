"""Work in processes of its own, which may die by SIGKILL in the middle.

They are forked from a parent that has imported the steps and done nothing else, as Airflow's tasks are: a process that
has read a Delta table cannot be forked.
"""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from include.core import fault_points
from include.core.settings import Settings
from include.spec.use_case import UseCase
from include.steps.workspace import Workspace
from tests.waiting import HANGS_AFTER_S

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tests.faults.work"])


@dataclass(frozen=True)
class Ended:
    """How a process ended: exit code (minus the signal that killed it), and the error that it raised."""

    code: int
    error: BaseException | None = None


def run(work: Callable[..., None], workspace: Workspace, *arguments: Any, **environ: str) -> Ended:
    """Call ``work`` with ``workspace`` and ``arguments`` in a process of its own, and wait for its end."""
    ours, theirs = _PROCESSES.Pipe(duplex=False)
    given = (theirs, work, workspace.settings, workspace.case, arguments, environ)
    process = _PROCESSES.Process(target=_work, args=given)
    process.start()
    theirs.close()
    error = None
    try:
        if ours.poll(HANGS_AFTER_S):
            error = ours.recv()
    except EOFError:
        pass  # it was killed
    process.join(HANGS_AFTER_S)
    assert process.exitcode is not None, f"{work.__name__} hangs"
    return Ended(process.exitcode, error)


def killed_at(point: str, work: Callable[..., None], workspace: Workspace, *arguments: Any) -> Ended:
    """Call ``work`` in a process that dies at ``point``."""
    return run(work, workspace, *arguments, **{fault_points.POINT: point})


def _work(
    answers: Connection,
    work: Callable[..., None],
    settings: Settings,
    case: UseCase,
    arguments: tuple[Any, ...],
    environ: dict[str, str],
) -> None:
    os.environ.update(environ)
    try:
        work(Workspace(settings, case), *arguments)
    except BaseException as error:
        traceback.print_exc()
        answers.send(type(error)(str(error)) if isinstance(error, OSError) else error)
        raise SystemExit(1) from error
    answers.send(None)
