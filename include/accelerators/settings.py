"""Settings of the places where workers run.

Tasks read these settings when they run, like ``include/core/settings.py``; names and defaults are in
``docker/airflow.env``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from include.core.errors import ConfError, SettingsError
from include.core.settings import PREFIX, EnvironmentSettings
from include.spec.accelerator import PLACES, Place

_NEEDED: dict[Place, tuple[str, ...]] = {
    "local": (),
    "kubernetes": ("KUBERNETES_IMAGE", "KUBERNETES_NAMESPACE"),
    "aws_batch": ("BATCH_JOB_QUEUE", "BATCH_JOB_DEFINITION"),
    "sagemaker": ("SAGEMAKER_IMAGE", "SAGEMAKER_ROLE_ARN", "SAGEMAKER_INSTANCE_TYPE", "SAGEMAKER_OUTPUT"),
}


def _parsed(value: Any) -> Any:
    """Parse JSON here, not in pydantic-settings, which would report this fault alone."""
    return json.loads(value) if isinstance(value, str) else value


class AcceleratorSettings(EnvironmentSettings):
    """Everything about places to run that is set in the environment.

    Attributes:
        place: where workers run when the trigger form does not say.
        leases: folder of the lease files.
        cpu_slots: workers at once on a machine without GPU; None for one a core.
        wait_seconds: how long a worker waits for a free slot.
        prices: USD an hour: ``cpu`` (a core), ``gpu``, the name of a GPU, an instance type, a place.
        values: the other settings by their name without prefix; empty ones are left out.
    """

    remedies: ClassVar[Mapping[str, str]] = {
        "place": f"give one of {', '.join(PLACES)}",
        "cpu_slots": "give a number above 0",
        "wait_seconds": "give a number above 0",
        "prices": 'give JSON like {"cpu": 0.05, "gpu": 2.5}',
    }

    place: Place = Field(default="local", validation_alias="LIFECYCLE_ACCELERATOR")
    leases: Annotated[Path, AfterValidator(Path.expanduser)]
    cpu_slots: int | None = Field(default=None, gt=0)
    wait_seconds: float = Field(default=600.0, gt=0, validation_alias="LIFECYCLE_LEASE_WAIT_SECONDS")
    prices: Annotated[dict[str, float], NoDecode, BeforeValidator(_parsed)] = Field(default={})
    values: dict[str, str] = Field(default={})

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> AcceleratorSettings:
        """Read the settings from the environment; an empty value counts as unset.

        Raises:
            SettingsError: values are malformed; names all of them.
        """
        source = os.environ if environ is None else environ
        ours = {name: value.strip() for name, value in source.items() if name.startswith(PREFIX) and value.strip()}
        values = {name.removeprefix(PREFIX): value for name, value in ours.items()}
        leases = values.get("LEASES") or Path(values.get("HOME", "var")) / "leases"
        values["MLFLOW_TRACKING_URI"] = source.get("MLFLOW_TRACKING_URI", "")
        return cls.read(ours, leases=leases, values=values)

    def at(self, asked: str | None) -> Place:
        """Return the place that was asked for, or the deployment's own, after a check of its settings.

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
        """Parse a setting that is written as JSON and has the type of ``default``.

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
        """Return a fault for each address that a worker on another machine cannot use."""
        faults = []
        if place != "kubernetes" and "://" not in self.values.get("LAKE_ROOT", ""):
            faults.append(f"{PREFIX}LAKE_ROOT is a folder of this machine; give an address such as s3://bucket/lake")
        if urlsplit(self.values.get("MLFLOW_TRACKING_URI", "")).hostname in (None, "127.0.0.1", "localhost", "::1"):
            faults.append("MLFLOW_TRACKING_URI is reached from this machine only")
        return faults
