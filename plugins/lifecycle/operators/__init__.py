"""Operators: declared inputs, a thin ``execute``, the work in ``include``."""
