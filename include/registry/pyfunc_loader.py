"""Lets ``mlflow.pyfunc.load_model`` load a registered model; scoring itself does not go through MLflow.

Works where this repository is importable: ``mlflow.pyfunc.load_model("models:/flights@champion")``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


class LoadedModel:
    """A registered model behind MLflow's ``predict``."""

    def __init__(self, folder: str) -> None:
        from include.training.model import load_model

        self._model = load_model(folder)

    def predict(self, frame: pd.DataFrame, params: dict[str, Any] | None = None) -> np.ndarray[Any, Any]:
        """Predictions for rows with the model's features; shape (rows,), a probability for binary labels."""
        import numpy as np
        import pyarrow as pa

        return np.asarray(self._model.predict(pa.Table.from_pandas(frame, preserve_index=False)))


def _load_pyfunc(folder: str) -> LoadedModel:
    """MLflow's hook: ``folder`` holds the files as they were registered."""
    return LoadedModel(folder)
