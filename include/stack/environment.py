"""The environment variables of every process of the embedded stack."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from include.core.repository import REPOSITORY
from include.stack.envfile import parse_env
from include.stack.layout import Layout
from include.stack.secrets import FOR_PEOPLE, SIGNING_KEY

SETTINGS_FILE = REPOSITORY / "docker" / "airflow.env"

# variables that a shell exports for another Airflow or MLflow must not reach this stack
_OWNED = ("AIRFLOW", "_AIRFLOW", "MLFLOW_", "FEAST_", "GX_", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE")


def task_capacity(cores: int) -> tuple[int, int]:
    """Return the number of task slots (two a core, at most 16) and of threads for each task."""
    slots = min(max(2 * cores, 2), 16)
    return slots, max(2 * cores // slots, 1)


def service_environ(
    layout: Layout,
    secrets: Mapping[str, str],
    environ: Mapping[str, str] | None = None,
    settings_file: Path = SETTINGS_FILE,
) -> dict[str, str]:
    """Build the environment of a service or of a command line call, secrets included.

    Later sources win: the shell without the settings of other installations, ``docker/airflow.env``,
    ``LIFECYCLE_*`` of the shell, ``overrides.env`` in the state folder.

    Raises:
        SettingsError: a settings file has lines that are not settings, or refers to an undefined name.
    """
    shell = dict(os.environ if environ is None else environ)
    given = {name: value for name, value in shell.items() if name.startswith("LIFECYCLE_")}
    slots, threads = task_capacity(len(os.sched_getaffinity(0)))
    values = {
        "LIFECYCLE_TASK_SLOTS": str(slots),
        "LIFECYCLE_TASK_THREADS": str(threads),
        **given,
        "LIFECYCLE_REPOSITORY": str(REPOSITORY),
        "LIFECYCLE_HOME": str(layout.home),
        "LIFECYCLE_DB_LOGIN": "postgres:@",
        "LIFECYCLE_DB_QUERY": f"?host={quote(str(layout.socket_folder), safe='/')}",
        "LIFECYCLE_AIRFLOW_HOST": layout.host,
        "LIFECYCLE_AIRFLOW_PORT": str(layout.airflow_port),
        "LIFECYCLE_MLFLOW_HOST": layout.host,
        "LIFECYCLE_MLFLOW_PORT": str(layout.mlflow_port),
        "LIFECYCLE_BIND": layout.bind,
        **({"LIFECYCLE_USE_CASES": layout.use_cases} if layout.use_cases else {}),
    }
    values[SIGNING_KEY] = given.get(SIGNING_KEY) or str(layout.keys / "signing.pem")
    values["LIFECYCLE_CODE_VERSION"] = given.get("LIFECYCLE_CODE_VERSION") or code_version()
    settings = parse_env(settings_file.read_text(encoding="utf-8"), str(settings_file), values)
    overrides = {}
    if layout.overrides_file.exists():
        text = layout.overrides_file.read_text(encoding="utf-8")
        overrides = parse_env(text, str(layout.overrides_file), values)
    inherited = {name: value for name, value in shell.items() if not name.startswith(_OWNED)}
    kept = {name: value for name, value in secrets.items() if name not in FOR_PEOPLE}
    result = inherited | settings | values | kept | overrides
    for name in FOR_PEOPLE:
        result.pop(name, None)
    # find `airflow` and `mlflow` of this virtual environment first, whichever one the shell has activated
    result |= _identity(layout, shell)
    result["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), shell.get("PATH", os.defpath)])
    return result


def _identity(layout: Layout, shell: Mapping[str, str]) -> dict[str, str]:
    """Return a home and a name for a user who has none; libraries ask for both when they are imported."""
    try:
        entry = pwd.getpwuid(os.getuid())
    except KeyError:
        entry = None
    found = {}
    if not shell.get("HOME") and entry is None:
        found["HOME"] = str(layout.home)
    if entry is None and not any(shell.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")):
        found["USER"] = f"user-{os.getuid()}"
    return found


def code_version() -> str:
    """Return the checked-out commit, with ``-dirty`` when tracked files differ from it, or ``unknown``."""
    try:
        described = subprocess.run(
            ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            encoding="utf-8",
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return described.stdout.strip() or "unknown"
