"""Tests of the port check: a taken port is refused before anything starts."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.core.errors import SettingsError
from include.stack.layout import Layout
from include.stack.ports import require_free
from include.stack.stack import Stack


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_taken_port_is_named_with_its_remedy(taken: int) -> None:
    with pytest.raises(SettingsError) as caught:
        require_free({"LIFECYCLE_AIRFLOW_PORT": taken}, "127.0.0.1")
    assert f"port {taken} on 127.0.0.1 cannot be used" in str(caught.value)
    assert f"LIFECYCLE_AIRFLOW_PORT={taken + 1} make up" in str(caught.value)


def test_a_free_port_is_accepted() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    require_free({"LIFECYCLE_AIRFLOW_PORT": port}, "127.0.0.1")


def test_nothing_starts_when_a_port_is_taken(tmp_path: Path, taken: int) -> None:
    home = tmp_path / "home"
    with pytest.raises(SettingsError, match=str(taken)):
        Stack(Layout(home, airflow_port=taken, mlflow_port=1 + taken)).up()
    assert [path.name for path in home.iterdir()] == [".lock"]
