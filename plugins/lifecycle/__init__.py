"""The project's additions to Airflow: assets, timetables, forms, links, and operators that call ``include.steps``."""
