"""Models from a frozen training set: cut and encode it, search, fit, calibrate, judge, write a model directory.

May import ``include.core``, ``include.spec``, ``include.lake`` and ``include.accelerators``. Every module here is
heavy (numpy, pyarrow, LightGBM, scikit-learn, Optuna or torch) and is imported inside tasks only; the names that a
spec needs are in ``include.spec.families``.
"""
