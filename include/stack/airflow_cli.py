"""Calls of the ``airflow`` command on an embedded stack."""

from __future__ import annotations

import subprocess

from include.core.errors import LifecycleError
from include.core.repository import REPOSITORY
from include.stack.environment import service_environ
from include.stack.launch import LAUNCH
from include.stack.layout import Layout
from include.stack.secrets import load_or_create_secrets


def airflow_command(layout: Layout, *arguments: str, timeout_s: float = 900.0) -> str:
    """Run ``airflow`` with ``arguments`` in a process of its own and return its standard output.

    Raises:
        LifecycleError: the command failed; holds the command line and the end of the output.
    """
    secrets, _ = load_or_create_secrets(layout.secrets_file)
    environ = service_environ(layout, secrets)
    command = [*LAUNCH, "airflow", *arguments]
    # run in the repository: `python -m` looks for modules in the current folder first
    done = subprocess.run(
        command,
        env=environ,
        cwd=REPOSITORY,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=timeout_s,
        check=False,
    )
    if done.returncode != 0:
        output = (done.stderr + done.stdout).strip()[-2000:]
        raise LifecycleError(f"`airflow {' '.join(arguments)}` failed with {done.returncode}:\n{output}")
    return done.stdout
