"""Train: freeze a training set, search, fit, describe in a model card, register."""
