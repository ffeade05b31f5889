"""Rebuild a model's training set from its record, and prove that the rows are the same.

``python -m include.steps.train.rebuild --use-case flights --model 3`` starts from a registered model version;
``--as-of 2013-10-31 --version 0`` names the frozen table instead. Settings come from the environment
(``make shell``). Nothing is published.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from include.core import command
from include.core.errors import ConfError, LifecycleError
from include.steps.score import predicting
from include.steps.train import training_sets
from include.steps.workspace import Workspace


def rebuild_of_model(workspace: Workspace, version: int) -> str:
    """Rebuild the training set of a registered model version, and return the fingerprint of its rows in the lake.

    Raises:
        LifecycleError: there is no such version, or it has no tag ``as_of``.
        SignatureRefused: the version is not signed by a trusted key, or not the one that the ledger names.
        TrainingError: the frozen rows are not those that the model was trained on, or the rebuilt ones differ.
    """
    found = predicting.model_version(workspace, version)
    # verify first that the frozen table still holds the rows that the model was trained on
    training_sets.of_version(workspace, found)
    return training_sets.rebuild(workspace, found.tags["as_of"], int(found.tags["training_set_version"]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m include.steps.train.rebuild", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--use-case", required=True)
    parser.add_argument("--model", type=int, help="a registered model version")
    parser.add_argument("--as-of", help="the day at whose clock the training set was frozen")
    parser.add_argument("--version", type=int, help="the Delta version of the frozen training set")
    asked = parser.parse_args(arguments)
    try:
        workspace = Workspace.open(asked.use_case)
        print(_rebuild(workspace, asked))
    except LifecycleError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _rebuild(workspace: Workspace, asked: argparse.Namespace) -> str:
    if asked.model is not None and asked.as_of is None and asked.version is None:
        what, found = f"model version {asked.model}", rebuild_of_model(workspace, asked.model)
    elif asked.model is None and asked.as_of is not None and asked.version is not None:
        what = f"{training_sets.table_of(workspace, asked.as_of)} version {asked.version}"
        found = training_sets.rebuild(workspace, workspace.check_partition(asked.as_of), asked.version)
    else:
        raise ConfError("give either --model, or --as-of and --version")
    return f"{what}: the same rows again, fingerprint {found}"


if __name__ == "__main__":
    command.run(main)
