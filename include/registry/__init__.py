"""Models in MLflow: registration, versions and their checked files.

Imports only core and training; steps register and load models through this folder.
"""
