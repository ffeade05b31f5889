"""Prove that a version makes the same predictions in a new process as where it was trained.

The new process loads the version as scoring does, and predicts the sample that is stored with the version. A
difference between the two processes (a library, a file, state left over from training) shows before the model
scores.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from pydantic import ValidationError

from include.core.errors import TrainingError
from include.core.repository import REPOSITORY
from include.core.settings import Settings
from include.promotion import reproduction
from include.spec.use_case import UseCase
from include.steps.score import predicting
from include.steps.workspace import Workspace
from include.training.model import load_model

_TIMEOUT_S = 300


def reproduce(workspace: Workspace, version: int) -> reproduction.Reproduction:
    """Load ``version`` in a new process, and compare its predictions with the stored sample.

    Raises:
        TrainingError: the version cannot be loaded there, or a prediction differs.
    """
    name = f"{workspace.case.name} version {version}"
    asked = {
        "settings": workspace.settings.model_dump(mode="json", exclude={"signing_key", "signing_command"}),
        "case": workspace.case.model_dump(mode="json"),
        "version": version,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "include.steps.promote.reproducing"],
            # on standard input: addresses may hold passwords, and every user can list arguments
            input=json.dumps(asked),
            cwd=REPOSITORY,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TrainingError(f"{name}: a new process did not finish predicting within {_TIMEOUT_S} s") from error
    if done.returncode:
        why = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise TrainingError(f"{name} cannot be loaded in a new process: {why[0]}; train it again with this code")
    try:
        found = reproduction.Reproduction.model_validate_json(done.stdout.splitlines()[-1])
    except (IndexError, ValidationError) as error:
        raise TrainingError(f"{name}: the new process answered {done.stdout[-200:]!r}") from error
    if not found.largest_difference <= reproduction.TOLERANCE:
        raise TrainingError(
            f"{name}: a new process predicts up to {found.largest_difference:.3g} away from the stored sample of "
            f"{found.rows} rows; compare the library versions in its manifest with those installed, and train again"
        )
    return found


def main(asked: dict[str, Any]) -> None:
    """Answer one request of :func:`reproduce` on standard output, as JSON."""
    workspace = Workspace(Settings(**asked["settings"]), UseCase.model_validate(asked["case"]))
    folder = predicting.model_folder(workspace, asked["version"])
    print(reproduction.measure(folder, load_model(folder), workspace.settings.threads).model_dump_json())


if __name__ == "__main__":
    main(json.load(sys.stdin))
