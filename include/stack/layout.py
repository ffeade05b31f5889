"""Where the embedded stack keeps its state and on which ports it listens."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from include.core.errors import SettingsError
from include.core.repository import REPOSITORY
from include.stack.envfile import parse_env

# sun_path holds 108 bytes with its terminating zero
SOCKET_PATH_LIMIT = 107
SOCKET_NAME = ".s.PGSQL.5432"
_AIRFLOW_PORT, _MLFLOW_PORT, _BIND = "LIFECYCLE_AIRFLOW_PORT", "LIFECYCLE_MLFLOW_PORT", "LIFECYCLE_BIND"
_ADDRESSES = "addresses.env"


@dataclass(frozen=True)
class Layout:
    """Folders and ports of one stack.

    Attributes:
        home: folder of everything that outlives a process; deleting it resets the stack.
        airflow_port: port of Airflow's UI and API.
        mlflow_port: port of MLflow's UI and API.
        bind: address that the servers listen on.
        host: address at which this machine's processes reach them.
    """

    home: Path
    airflow_port: int = 8080
    mlflow_port: int = 5000
    bind: str = "127.0.0.1"
    host: str = "127.0.0.1"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> Layout:
        """Read ``LIFECYCLE_HOME``, ``LIFECYCLE_AIRFLOW_PORT``, ``LIFECYCLE_MLFLOW_PORT``, ``LIFECYCLE_BIND``.

        What is not given is as it was when the stack of that home was last started, else the default.

        Raises:
            SettingsError: a port is not a number from 1 to 65535, or both are the same.
        """
        values = os.environ if environ is None else environ
        home = Path(values.get("LIFECYCLE_HOME") or REPOSITORY / "var").expanduser().resolve()
        values = _remembered(home) | {name: value for name, value in values.items() if value}
        airflow_port = _port(values, _AIRFLOW_PORT, 8080)
        mlflow_port = _port(values, _MLFLOW_PORT, 5000)
        if airflow_port == mlflow_port:
            raise SettingsError(f"LIFECYCLE_AIRFLOW_PORT and LIFECYCLE_MLFLOW_PORT are both {airflow_port}; change one")
        bind = values.get(_BIND) or "127.0.0.1"
        host = "127.0.0.1" if bind in ("0.0.0.0", "127.0.0.1") else bind  # noqa: S104 - compared, not bound
        return cls(home, airflow_port, mlflow_port, bind, host)

    def remember(self) -> None:
        """Keep ports and address for later commands on this home that are given none."""
        kept = {_AIRFLOW_PORT: self.airflow_port, _MLFLOW_PORT: self.mlflow_port, _BIND: self.bind}
        lines = [f"{name}={value}\n" for name, value in kept.items()]
        (self.home / _ADDRESSES).write_text("".join(lines), encoding="utf-8")

    @property
    def logs(self) -> Path:
        """Folder of the services' own logs; task logs are below it in ``tasks/``."""
        return self.home / "logs"

    @property
    def run(self) -> Path:
        """Folder of the files that say which processes are ours."""
        return self.home / "run"

    @property
    def postgres(self) -> Path:
        """PostgreSQL's data folder."""
        return self.home / "postgres"

    @property
    def socket_folder(self) -> Path:
        """Folder of PostgreSQL's socket: in ``home``, or a short private one where that path is too long."""
        folder = self.home / "socket"
        if len(os.fsencode(folder / SOCKET_NAME)) <= SOCKET_PATH_LIMIT:
            return folder
        name = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"lifecycle-{os.getuid()}-{name}"

    @property
    def secrets_file(self) -> Path:
        """File of the generated secrets, readable by its owner only."""
        return self.home / "secrets.env"

    @property
    def overrides_file(self) -> Path:
        """Optional file of settings that win over ``docker/airflow.env``."""
        return self.home / "overrides.env"

    @property
    def airflow_url(self) -> str:
        """Address of Airflow's UI and API."""
        return f"http://{self.host}:{self.airflow_port}"

    @property
    def mlflow_url(self) -> str:
        """Address of MLflow's UI and API."""
        return f"http://{self.host}:{self.mlflow_port}"


def _remembered(home: Path) -> dict[str, str]:
    file = home / _ADDRESSES
    return parse_env(file.read_text(encoding="utf-8"), str(file), {}) if file.exists() else {}


def _port(values: Mapping[str, str], name: str, default: int) -> int:
    text = values.get(name) or str(default)
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise SettingsError(f"{name} is {text!r}; give a port from 1 to 65535")
    return int(text)
