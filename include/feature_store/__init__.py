"""The feature store: feature SQL, Feast's offline and online stores over the lake, and point-in-time joins.

It may import ``include.core``, ``include.spec`` and ``include.lake``. Private names of Feast are in ``feast_private``.
"""
