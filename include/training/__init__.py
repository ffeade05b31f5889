"""Search, fit, calibrate and judge models.

Light modules, safe to import when a spec loads: ``catalog``, ``spec``. Everything else imports numpy,
pyarrow, LightGBM, scikit-learn or Optuna and belongs inside a task.
"""
