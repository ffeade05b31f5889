"""Search by Optuna: many workers share one study, its budget and its checkpoints; any of them may die."""
