"""The embedded stack: PostgreSQL, Airflow and MLflow as processes of one machine, without root or Docker.

``python -m include.stack`` starts and stops it; the demo and the preparation of containers live here too.
"""
