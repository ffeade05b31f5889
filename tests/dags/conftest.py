"""Airflow reads its environment when it is imported: set it before any test module is."""

from __future__ import annotations

from tests.dags import airflow_home

airflow_home.prepare()
