"""Models in MLflow: registration, versions and their checked files.

Steps register, verify and load models through this folder.
"""
