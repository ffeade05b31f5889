"""Where workers run in this deployment, and what that place needs to be told.

Read once per task, like ``include/core/settings.py``; names and defaults are in ``docker/airflow.env``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from include.core.errors import ConfError, SettingsError
from include.spec.accelerator import PLACES, Place

PREFIX = "LIFECYCLE_"
_NEEDED: dict[Place, tuple[str, ...]] = {
    "local": (),
    "kubernetes": ("KUBERNETES_IMAGE", "KUBERNETES_NAMESPACE"),
    "aws_batch": ("BATCH_JOB_QUEUE", "BATCH_JOB_DEFINITION"),
    "sagemaker": ("SAGEMAKER_IMAGE", "SAGEMAKER_ROLE_ARN", "SAGEMAKER_INSTANCE_TYPE", "SAGEMAKER_OUTPUT"),
}


@dataclass(frozen=True)
class AcceleratorSettings:
    """Everything about places to run that is set in the environment.

    Attributes:
        place: where workers run when the trigger form does not say.
        leases: folder of the lease files.
        cpu_slots: workers at once on a machine without GPU; None for one a core.
        wait_seconds: how long a worker waits for a free slot.
        prices: USD an hour: ``cpu`` (a core), ``gpu``, the name of a GPU, an instance type, a place.
        values: the other settings by their name without prefix; empty ones are left out.
    """

    place: Place
    leases: Path
    cpu_slots: int | None = None
    wait_seconds: float = 600.0
    prices: Mapping[str, float] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> AcceleratorSettings:
        """Read the settings from the environment.

        Raises:
            SettingsError: one of them is malformed.
        """
        source = os.environ if environ is None else environ
        values = {
            name.removeprefix(PREFIX): value.strip()
            for name, value in source.items()
            if name.startswith(PREFIX) and value.strip()
        }
        place = values.get("ACCELERATOR", "local")
        if place not in PLACES:
            raise SettingsError(f"{PREFIX}ACCELERATOR is {place!r}; give one of {', '.join(PLACES)}")
        return cls(
            place=place,
            leases=Path(values.get("LEASES") or Path(values.get("HOME", "var")) / "leases"),
            cpu_slots=_number(values, "CPU_SLOTS", int),
            wait_seconds=_number(values, "LEASE_WAIT_SECONDS", float) or 600.0,
            prices=_prices(values),
            values={**values, "MLFLOW_TRACKING_URI": source.get("MLFLOW_TRACKING_URI", "")},
        )

    def at(self, asked: str | None) -> Place:
        """The place that was asked for, or the deployment's own, if everything it needs is set.

        Raises:
            ConfError: no such place.
            SettingsError: settings of that place are missing or unfit; names all of them.
        """
        place = asked or self.place
        if place not in PLACES:
            raise ConfError(f"accelerator {place!r} unknown; give one of {', '.join(PLACES)}")
        faults = [f"{PREFIX}{name} is not set" for name in _NEEDED[place] if not self.values.get(name)]
        if place != "local":
            faults += self._unreachable(place)
        if faults:
            raise SettingsError(f"accelerator {place}: {'; '.join(faults)}; docker/airflow.env says what they mean")
        return place

    def json_value(self, name: str, default: Any) -> Any:
        """A setting that is written as JSON, of the type of ``default``.

        Raises:
            SettingsError: it is not JSON, or of another type.
        """
        text = self.values.get(name)
        if not text:
            return default
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if not isinstance(value, type(default)):
            raise SettingsError(f"{PREFIX}{name} is {text!r}; give JSON like {json.dumps(default)}")
        return value

    def _unreachable(self, place: Place) -> list[str]:
        """Addresses that a worker on another machine cannot use."""
        faults = []
        if place != "kubernetes" and "://" not in self.values.get("LAKE_ROOT", ""):
            faults.append(f"{PREFIX}LAKE_ROOT is a folder of this machine; give an address such as s3://bucket/lake")
        if urlsplit(self.values.get("MLFLOW_TRACKING_URI", "")).hostname in (None, "127.0.0.1", "localhost", "::1"):
            faults.append("MLFLOW_TRACKING_URI is reached from this machine only")
        return faults


def _number(values: Mapping[str, str], name: str, kind: type[Any]) -> Any:
    text = values.get(name)
    if text is None:
        return None
    try:
        value = kind(text)
    except ValueError:
        value = 0
    if value <= 0:
        raise SettingsError(f"{PREFIX}{name} is {text!r}; give a number above 0")
    return value


def _prices(values: Mapping[str, str]) -> dict[str, float]:
    text = values.get("PRICES", "{}")
    try:
        return {str(name): float(price) for name, price in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError):
        raise SettingsError(f'{PREFIX}PRICES is {text!r}; give JSON like {{"cpu": 0.05, "gpu": 2.5}}') from None
