"""The settings object: all that is wrong is said at once, numbers are numbers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from include.accelerators.settings import AcceleratorSettings
from include.core.errors import SettingsError
from include.core.repository import REPOSITORY
from include.core.settings import Settings

REQUIRED = {
    name: f"/somewhere/{name.lower()}"
    for name in (
        "LIFECYCLE_LAKE_ROOT",
        "LIFECYCLE_REPORTS_ROOT",
        "LIFECYCLE_WORK_ROOT",
        "LIFECYCLE_ONLINE_STORE",
        "LIFECYCLE_FEAST_REGISTRY",
        "LIFECYCLE_OPTUNA_STORAGE",
        "MLFLOW_TRACKING_URI",
        "LIFECYCLE_SOURCE_CACHE",
    )
}


def test_defaults() -> None:
    found = Settings.from_environ(REQUIRED)
    assert (found.threads, found.inputs_grace_seconds) == (1, 30)


def test_given_numbers() -> None:
    found = Settings.from_environ(REQUIRED | {"LIFECYCLE_THREADS": "4", "LIFECYCLE_INPUTS_GRACE_SECONDS": "5"})
    assert (found.threads, found.inputs_grace_seconds) == (4, 5)


@pytest.mark.parametrize("wrong", ["0", "-1", "2.5", "many", "", "²"])
def test_every_fault_is_named(wrong: str) -> None:
    environ = REQUIRED | {"LIFECYCLE_THREADS": wrong, "LIFECYCLE_INPUTS_GRACE_SECONDS": wrong}
    del environ["LIFECYCLE_LAKE_ROOT"]
    with pytest.raises(SettingsError) as refusal:
        Settings.from_environ(environ)
    for name in ("LIFECYCLE_LAKE_ROOT is not set", "LIFECYCLE_THREADS is ", "LIFECYCLE_INPUTS_GRACE_SECONDS is "):
        assert name in str(refusal.value)


@pytest.mark.parametrize("name", REQUIRED)
def test_a_blank_is_as_good_as_nothing(name: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} is not set; see docker/airflow.env for what it means$"):
        Settings.from_environ(REQUIRED | {name: "  "})


@pytest.mark.parametrize("limit", ["", "lots", "2GB'; DROP TABLE x; --", "-1GB"])
def test_a_memory_limit_that_is_no_size(limit: str) -> None:
    with pytest.raises(SettingsError, match=r"LIFECYCLE_MEMORY_LIMIT is .*; write it as 2GB or 80%"):
        Settings.from_environ(REQUIRED | {"LIFECYCLE_MEMORY_LIMIT": limit})


def test_the_environment_does_not_touch_settings_that_are_constructed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIFECYCLE_THREADS", "64")
    given = Settings.from_environ(REQUIRED).model_dump()
    del given["threads"]
    assert Settings(**given).threads == 1


def test_every_fault_of_the_accelerators_is_named() -> None:
    environ = dict.fromkeys(("LIFECYCLE_ACCELERATOR", "LIFECYCLE_CPU_SLOTS", "LIFECYCLE_PRICES"), "x")
    with pytest.raises(SettingsError) as refusal:
        AcceleratorSettings.from_environ(environ)
    for name in environ:
        assert f"{name} is 'x'; give " in str(refusal.value)


def test_accelerators_without_settings_are_this_machine() -> None:
    found = AcceleratorSettings.from_environ({"LIFECYCLE_HOME": "/home", "LIFECYCLE_LEASES": " "})
    assert (found.at(None), found.leases, found.cpu_slots, found.prices) == ("local", Path("/home/leases"), None, {})


def test_the_dag_parser_does_not_pay_for_settings() -> None:
    code = "import sys, include.spec.loading; print('pydantic_settings' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("limit", ["2GB", "512MB", "1.5GiB", "80%"])
def test_sizes_that_are_taken(limit: str) -> None:
    assert Settings.from_environ(REQUIRED | {"LIFECYCLE_MEMORY_LIMIT": limit}).memory_limit == limit
