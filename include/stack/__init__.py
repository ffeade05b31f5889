"""The embedded stack: PostgreSQL, Airflow and MLflow as processes of one machine, without root or Docker."""
