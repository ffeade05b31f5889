"""Sources of raw data: what an adapter promises. Imports ``include.core`` and ``include.spec`` only."""
