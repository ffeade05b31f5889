"""Drift of features and predictions, quality of past predictions, and verdicts.

Imports only core, spec, lake and training.
"""
