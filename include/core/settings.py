"""Where this deployment's parts are and how much of the machine they may use.

Read once per task from the environment, never at import. Every way of starting the project (local,
container, cluster) sets the same names; ``docker/airflow.env`` lists them with their defaults.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from include.core.errors import SettingsError

REPOSITORY = Path(__file__).resolve().parents[2]
# it becomes part of a SQL statement
MEMORY_LIMIT = re.compile(r"\d+(\.\d+)? ?([KMGT]i?B|%)")


@dataclass(frozen=True)
class Settings:
    """One deployment's addresses and limits.

    Attributes:
        lake_root: folder or ``s3://`` address that holds every Delta table.
        reports_root: folder of data docs, drift reports and model cards.
        online_store: file of the embedded Feast online store.
        feast_registry: SQLAlchemy address of Feast's registry.
        optuna_storage: SQLAlchemy address of the Optuna studies.
        mlflow_tracking_uri: address of the MLflow server, or a local store.
        source_cache: folder for what source adapters unpack.
        threads: threads that one task may use for SQL, fitting and scoring.
        memory_limit: memory that one DuckDB connection may use before it spills to disk.
        code_version: commit of the running code, recorded with every publish.
        inputs_grace_seconds: how long the producers of a missing partition must have been idle before a run that
            waits for it gives up.
    """

    lake_root: str
    reports_root: str
    online_store: str
    feast_registry: str
    optuna_storage: str
    mlflow_tracking_uri: str
    source_cache: str
    threads: int = 1
    memory_limit: str = "2GB"
    code_version: str = "unknown"
    inputs_grace_seconds: int = 30

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings from the environment.

        Raises:
            SettingsError: a required name is unset or a number is not one; names all of them.
        """
        values = os.environ if environ is None else environ
        faults: list[str] = []

        def required(name: str) -> str:
            value = values.get(name, "").strip()
            if not value:
                faults.append(f"{name} is not set; see docker/airflow.env for what it means")
            return value

        def count(name: str, default: str) -> int:
            value = values.get(name, default)
            if value.isdecimal() and int(value) >= 1:
                return int(value)
            faults.append(f"{name} is {value!r}; give a whole number of at least 1")
            return 1

        memory_limit = values.get("LIFECYCLE_MEMORY_LIMIT", "2GB")
        if not MEMORY_LIMIT.fullmatch(memory_limit):
            faults.append(f"LIFECYCLE_MEMORY_LIMIT is {memory_limit!r}; write it as 2GB or 80%")
        settings = cls(
            lake_root=required("LIFECYCLE_LAKE_ROOT").rstrip("/"),
            reports_root=required("LIFECYCLE_REPORTS_ROOT"),
            online_store=required("LIFECYCLE_ONLINE_STORE"),
            feast_registry=required("LIFECYCLE_FEAST_REGISTRY"),
            optuna_storage=required("LIFECYCLE_OPTUNA_STORAGE"),
            mlflow_tracking_uri=required("MLFLOW_TRACKING_URI"),
            source_cache=required("LIFECYCLE_SOURCE_CACHE"),
            threads=count("LIFECYCLE_THREADS", "1"),
            memory_limit=memory_limit,
            code_version=values.get("LIFECYCLE_CODE_VERSION", "unknown"),
            inputs_grace_seconds=count("LIFECYCLE_INPUTS_GRACE_SECONDS", "30"),
        )
        if faults:
            raise SettingsError("; ".join(faults))
        return settings
