"""The folders, ports and use cases of one embedded stack."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from include.core.errors import SettingsError
from include.core.places import folder
from include.core.repository import REPOSITORY
from include.stack.envfile import parse_env

# the kernel's sun_path holds 108 bytes, one of them the terminating zero
SOCKET_PATH_LIMIT = 107
SOCKET_NAME = ".s.PGSQL.5432"
_AIRFLOW_PORT, _MLFLOW_PORT, _BIND = "LIFECYCLE_AIRFLOW_PORT", "LIFECYCLE_MLFLOW_PORT", "LIFECYCLE_BIND"
_HOME, _ADDRESSES = "LIFECYCLE_HOME", "addresses.env"
_USE_CASES = "LIFECYCLE_USE_CASES"


@dataclass(frozen=True)
class Layout:
    """Folders and ports of one stack.

    Attributes:
        home: folder of all state; deleting it resets the stack.
        airflow_port: port of Airflow's UI and API.
        mlflow_port: port of MLflow's UI and API.
        bind: address that the servers listen on.
        host: address at which processes of this machine reach the servers.
        use_cases: further folders of use cases, separated by ``:``.
    """

    home: Path
    airflow_port: int = 8080
    mlflow_port: int = 5000
    bind: str = "127.0.0.1"
    host: str = "127.0.0.1"
    use_cases: str = ""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> Layout:
        """Read ``LIFECYCLE_HOME``, the ports, ``LIFECYCLE_BIND`` and ``LIFECYCLE_USE_CASES``.

        A variable that is not set takes the value of the last start of the stack in that home, else its default.

        Raises:
            SettingsError: the home is no folder that all parts can use, a port is not a number from 1 to 65535, or
                both ports are the same.
        """
        values = os.environ if environ is None else environ
        home = _home(values.get(_HOME) or str(REPOSITORY / "var"))
        values = _remembered(home) | {name: value for name, value in values.items() if value}
        airflow_port = _port(values, _AIRFLOW_PORT, 8080)
        mlflow_port = _port(values, _MLFLOW_PORT, 5000)
        if airflow_port == mlflow_port:
            raise SettingsError(f"LIFECYCLE_AIRFLOW_PORT and LIFECYCLE_MLFLOW_PORT are both {airflow_port}; change one")
        bind = values.get(_BIND) or "127.0.0.1"
        host = "127.0.0.1" if bind in ("0.0.0.0", "127.0.0.1") else bind  # noqa: S104 - compared, not bound
        return cls(home, airflow_port, mlflow_port, bind, host, values.get(_USE_CASES, ""))

    def remember(self) -> None:
        """Write ports, address and folders into ``home``, for later commands that are called without them."""
        lines = [f"{name}={value}\n" for name, value in self.variables().items() if name != _HOME]
        (self.home / _ADDRESSES).write_text("".join(lines), encoding="utf-8")

    def variables(self) -> dict[str, str]:
        """Return the environment variables from which :meth:`from_environ` makes this layout."""
        return {
            _HOME: str(self.home),
            _AIRFLOW_PORT: str(self.airflow_port),
            _MLFLOW_PORT: str(self.mlflow_port),
            _BIND: self.bind,
            # a line feed would be another line of the file
            **({_USE_CASES: self.use_cases} if self.use_cases and self.use_cases.isprintable() else {}),
        }

    @property
    def logs(self) -> Path:
        """Return the folder of the services' own logs; task logs lie below it in ``tasks/``."""
        return self.home / "logs"

    @property
    def run(self) -> Path:
        """Return the folder of the files that record the stack's processes."""
        return self.home / "run"

    @property
    def restarts_file(self) -> Path:
        """Return the file in which the supervisor records its restarts."""
        return self.run / "restarts.json"

    @property
    def postgres(self) -> Path:
        """Return PostgreSQL's data folder."""
        return self.home / "postgres"

    @property
    def socket_folder(self) -> Path:
        """Return the folder of PostgreSQL's socket: in ``home``, or a short one in the temporary folder.

        The path of a Unix socket is limited to 107 bytes.
        """
        folder = self.home / "socket"
        if len(os.fsencode(folder / SOCKET_NAME)) <= SOCKET_PATH_LIMIT:
            return folder
        name = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"lifecycle-{os.getuid()}-{name}"

    @property
    def secrets_file(self) -> Path:
        """Return the file of the generated secrets, which only its owner can read."""
        return self.home / "secrets.env"

    @property
    def keys(self) -> Path:
        """Return the folder of the keys of signed models."""
        return self.home / "keys"

    @property
    def overrides_file(self) -> Path:
        """Return the optional file of settings that win over ``docker/airflow.env``."""
        return self.home / "overrides.env"

    @property
    def airflow_url(self) -> str:
        """Return the address of Airflow's UI and API."""
        return f"http://{self.host}:{self.airflow_port}"

    @property
    def mlflow_url(self) -> str:
        """Return the address of MLflow's UI and API."""
        return f"http://{self.host}:{self.mlflow_port}"


def _home(given: str) -> Path:
    try:
        return folder(Path(given) if given.startswith("~") else Path(given).absolute()).resolve()
    except ValueError as error:
        raise SettingsError(f"LIFECYCLE_HOME is {given!r}; {error}") from error


def _remembered(home: Path) -> dict[str, str]:
    file = home / _ADDRESSES
    return parse_env(file.read_text(encoding="utf-8"), str(file), {}) if file.exists() else {}


def _port(values: Mapping[str, str], name: str, default: int) -> int:
    text = values.get(name) or str(default)
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise SettingsError(f"{name} is {text!r}; give a port from 1 to 65535")
    return int(text)
