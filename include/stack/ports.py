"""The check for taken ports that runs before anything starts."""

from __future__ import annotations

import socket

import psutil

from include.core.errors import SettingsError


def require_free(wanted: dict[str, int], bind: str) -> None:
    """Check that every port can be bound.

    Args:
        wanted: port by the name of the setting that changes it.
        bind: address that the servers will listen on.

    Raises:
        SettingsError: names each taken port, the process that holds it (where it is visible) and the remedy.
    """
    faults = []
    for setting, port in wanted.items():
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # the servers set this option too: a port whose connections are only in TIME_WAIT is free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((bind, port))
            except OSError as error:
                faults.append(
                    f"port {port} on {bind} cannot be used ({error.strerror}{_holder(port)}); "
                    f"free it, or choose another: {setting}={port + 1} make up"
                )
    if faults:
        raise SettingsError("\n".join(faults))


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections(kind="tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            if listens and connection.pid is not None:
                return f", held by {psutil.Process(connection.pid).name()} with pid {connection.pid}"
    except (psutil.Error, PermissionError):
        pass
    return ""
