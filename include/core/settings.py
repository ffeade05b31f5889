"""Addresses of this deployment's parts, and the share of the machine that one task may use.

Tasks read the settings from the environment when they run, never at import. Every way of starting the project
(local, container, cluster) sets the same names; ``docker/airflow.env`` lists them with their defaults. Airflow's
DAG parser must not import this module: pydantic-settings takes longer to import than all DAG files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, Field, StringConstraints, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from include.core.errors import SettingsError
from include.core.places import place

PREFIX = "LIFECYCLE_"
_UNSET = "is not set; see docker/airflow.env for what it means"

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Place = Annotated[Text, AfterValidator(place)]
OptionalPlace = Annotated[str, AfterValidator(lambda text: place(text.strip()) if text.strip() else "")]
Count = Annotated[int, Field(ge=1)]


class EnvironmentSettings(BaseSettings):
    """Settings that :meth:`read` takes from environment variables; the constructor takes keyword arguments only.

    Attributes:
        remedies: by field, the end of the error message about a malformed value.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix=PREFIX, populate_by_name=True)

    remedies: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Leave the environment out: settings that a caller constructs must not depend on it."""
        return (init_settings,)

    @classmethod
    def read(cls, environ: Mapping[str, str] | None = None, **given: Any) -> Self:
        """Read the settings from ``environ`` (the process's own by default); ``given`` wins over it.

        Raises:
            SettingsError: values are missing or malformed; names every variable, with the remedy.
        """
        source = EnvSettingsSource(cls)
        source.env_vars = {name.lower(): value for name, value in (os.environ if environ is None else environ).items()}
        try:
            return cls(**{**source(), **given})
        except ValidationError as error:
            raise SettingsError("; ".join(cls._fault(fault) for fault in error.errors())) from error

    @classmethod
    def _fault(cls, fault: Any) -> str:
        named = str(fault["loc"][0])
        fields = {str(field.validation_alias or name): name for name, field in cls.model_fields.items()}
        name = fields.get(named, named)
        variable = str(cls.model_fields[name].validation_alias or f"{PREFIX}{name.upper()}")
        if fault["type"] in {"missing", "string_too_short"}:
            return f"{variable} {_UNSET}"
        return f"{variable} is {fault['input']!r}; {cls.remedies.get(name, fault['msg'].removeprefix('Value error, '))}"


class KeySettings(EnvironmentSettings):
    """The settings of the keys that sign models, for processes without the others; ``Settings`` says what each is."""

    signing_key: OptionalPlace = ""
    signing_command: str = ""
    trusted_keys: OptionalPlace = ""


class Settings(KeySettings):
    """One deployment's addresses and limits.

    Attributes:
        lake_root: folder or ``s3://`` address that holds every Delta table.
        reports_root: folder of data docs, drift reports and model cards.
        work_root: folder of intermediate files: encoded training sets, checkpoints, fitted models before they are
            registered, downloaded models. Deletable without loss while no task runs.
        online_store: file of the embedded Feast online store.
        feast_registry: SQLAlchemy address of Feast's registry.
        optuna_storage: SQLAlchemy address of the Optuna studies.
        mlflow_tracking_uri: address of the MLflow server, or a local store.
        source_cache: folder for what source adapters unpack.
        signing_key: PEM file of the private key that signs models, or with ``signing_command`` of its public key; empty
            in a process that signs nothing.
        signing_command: command that signs in place of the file; see ``include/registry/keys.py``.
        trusted_keys: folder of the public keys by which models are accepted.
        threads: threads that one task may use for SQL, fitting and scoring.
        memory_limit: memory that one DuckDB connection may use before it spills to disk.
        code_version: commit of the running code, recorded with every publish.
        inputs_grace_seconds: seconds for which the producers of a missing partition must have been idle before a
            task that waits for the partition gives up.
    """

    remedies: ClassVar[Mapping[str, str]] = {
        "threads": "give a whole number of at least 1",
        "memory_limit": "write it as 2GB or 80%",
        "inputs_grace_seconds": "give a whole number of at least 1",
    }

    lake_root: Place
    reports_root: Place
    work_root: Place
    online_store: Place
    feast_registry: Text
    optuna_storage: Text
    mlflow_tracking_uri: Text = Field(validation_alias="MLFLOW_TRACKING_URI")
    source_cache: Place
    threads: Count = 1
    # the limit becomes part of a SQL statement
    memory_limit: str = Field(default="2GB", pattern=r"^[0-9]+(\.[0-9]+)? ?([KMGT]i?B|%)$")
    code_version: str = "unknown"
    inputs_grace_seconds: Count = 30

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings from the environment; raises like :meth:`read`."""
        return cls.read(environ)

    @classmethod
    def in_folder(cls, folder: Path, **more: str) -> Settings:
        """Return settings without servers, whose every part lies in ``folder``: to try something out."""
        values = {
            "lake_root": str(folder / "lake"),
            "reports_root": str(folder / "reports"),
            "work_root": str(folder / "work"),
            "online_store": str(folder / "online.db"),
            "feast_registry": f"sqlite:///{folder / 'registry.db'}",
            "optuna_storage": f"sqlite:///{folder / 'studies.db'}",
            "mlflow_tracking_uri": f"sqlite:///{folder / 'mlflow.db'}",
            "source_cache": str(folder / "sources"),
        }
        return cls.model_validate(values | more)
