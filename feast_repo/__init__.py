"""Feast definitions of the use cases, one module each; they import Feast only."""
