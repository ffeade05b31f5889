"""Everything that a use case's YAML may say, checked all at once. Imports ``include.core`` only, and stays light:
Airflow's DAG parser imports it.
"""
