"""The loader for ``mlflow.pyfunc.load_model``; the score step itself does not load through MLflow.

It works where this repository can be imported and ``LIFECYCLE_TRUSTED_KEYS`` names the public keys:
``mlflow.pyfunc.load_model("models:/flights@champion")``. Every registered model stores the name of this module, so
the module must not move.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


class PyfuncModel:
    """A registered model behind MLflow's ``predict``."""

    def __init__(self, folder: str) -> None:
        from include.training.model import load_model

        self._model = load_model(folder, _signed_digest(Path(folder)))

    def predict(self, frame: pd.DataFrame, params: dict[str, Any] | None = None) -> np.ndarray[Any, Any] | pd.DataFrame:
        """Predict rows with the model's features.

        Returns:
            Shape (rows,), a probability for binary labels; of classes a frame with the probability of each, in columns
            of their names and with the index of ``frame``.
        """
        import numpy as np
        import pandas as pd
        import pyarrow as pa

        predicted = np.asarray(self._model.predict(pa.Table.from_pandas(frame, preserve_index=False)))
        classes = self._model.manifest.classes
        return pd.DataFrame(predicted, frame.index, list(classes)) if classes else predicted


def _load_pyfunc(folder: str) -> PyfuncModel:
    """Load the registered files in ``folder``; MLflow calls this function by its name.

    Raises:
        SignatureRefused: the version is not signed by a trusted key, or was not asked for by name and number.
        DigestMismatch: the files do not have the signed digest.
    """
    return PyfuncModel(folder)


def _signed_digest(folder: Path) -> str:
    """Return the digest that is signed for the version which MLflow has downloaded to ``folder``."""
    import mlflow
    import yaml

    from include.core.errors import SignatureRefused
    from include.core.settings import KeySettings
    from include.registry import keys, model_versions

    # MLflow's client writes this file beside what it has downloaded by the name of a registered model
    asked = folder.parents[1] / "registered_model_meta"
    if not asked.is_file():
        raise SignatureRefused(
            f"{folder} was not loaded by the name of a registered version, so no signature can be looked up; load it "
            "as models:/<use case>/<version>"
        )
    named = yaml.safe_load(asked.read_text(encoding="utf-8"))
    trusted = keys.trusted(KeySettings.read())
    uri = mlflow.get_registry_uri()
    return model_versions.verified(uri, str(named["model_name"]), int(named["model_version"]), trusted).digest
