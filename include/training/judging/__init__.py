"""Judge predictions: metrics, intervals, baselines, leakage, evidence. Knows neither model files nor families."""
