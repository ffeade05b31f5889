"""Free ports for the stacks that tests and benchmarks start."""

from __future__ import annotations

import socket


def free_ports() -> tuple[int, int]:
    """Find two ports that no process listens on: for Airflow and for MLflow."""
    # both sockets stay open until both ports are known, so that the ports differ
    with socket.socket() as airflow, socket.socket() as mlflow:
        for opened in (airflow, mlflow):
            opened.bind(("127.0.0.1", 0))
        return airflow.getsockname()[1], mlflow.getsockname()[1]
