"""The assets that hand a partition or a challenger from one DAG to the next."""

from __future__ import annotations

from airflow.sdk import Asset

from include.spec.use_case import UseCase


def raw(use_case: UseCase) -> Asset:
    """Return the asset of raw partitions that were audited and published."""
    return _asset(use_case, "raw")


def features(use_case: UseCase) -> Asset:
    """Return the asset of feature snapshots that were published and materialized."""
    return _asset(use_case, "features")


def predictions(use_case: UseCase) -> Asset:
    """Return the asset of predictions that were audited and published."""
    return _asset(use_case, "predictions")


def challenger(use_case: UseCase) -> Asset:
    """Return the asset of registered model versions that want to become champion."""
    return _asset(use_case, "challenger")


def _asset(use_case: UseCase, name: str) -> Asset:
    return Asset(name=f"{use_case.name}.{name}", uri=f"lifecycle://{use_case.name}/{name}", group=use_case.name)
