"""The loader for ``mlflow.pyfunc.load_model``; the score step itself does not load through MLflow.

It works where this repository can be imported: ``mlflow.pyfunc.load_model("models:/flights@champion")``. Every
registered model stores the name of this module, so the module must not move.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


class PyfuncModel:
    """A registered model behind MLflow's ``predict``."""

    def __init__(self, folder: str) -> None:
        from include.training.model import load_model

        self._model = load_model(folder)

    def predict(self, frame: pd.DataFrame, params: dict[str, Any] | None = None) -> np.ndarray[Any, Any]:
        """Predict rows with the model's features; shape (rows,), a probability for binary labels."""
        import numpy as np
        import pyarrow as pa

        return np.asarray(self._model.predict(pa.Table.from_pandas(frame, preserve_index=False)))


def _load_pyfunc(folder: str) -> PyfuncModel:
    """Load the registered files in ``folder``; MLflow calls this function by its name."""
    return PyfuncModel(folder)
