"""What this project adds to Airflow: assets, a timetable, and operators that call ``include``."""
