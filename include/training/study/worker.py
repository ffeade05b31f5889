"""The command of one search worker: ``python -m include.training.study.worker --help``.

The same command runs on a laptop, in a container and on a batch service. It needs the study database, the training
set and the settings, and writes to the study and to the folders that it is given.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from include.core.errors import LifecycleError
from include.spec.training import ModelSettings, parse_settings

if TYPE_CHECKING:
    from include.training.training_set import TrainingSet


_STORAGE = "LIFECYCLE_OPTUNA_STORAGE"
_CHECKPOINTS = "LIFECYCLE_CHECKPOINTS"


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m include.training.study.worker",
        description="Pull trials of a study until its shared budget is used up.",
    )
    storage = os.environ.get(_STORAGE)
    # an address may hold a password, and every user of the machine can read a command line
    parser.add_argument(
        "--storage", default=storage, required=not storage, help=f"study database (default: ${_STORAGE})"
    )
    parser.add_argument("--study", required=True, help="name of the study; created when it is new")
    parser.add_argument("--training-set", required=True, help="Parquet file or folder, or a Delta table")
    parser.add_argument("--version", type=int, help="Delta version to read (default: the newest)")
    parser.add_argument("--fingerprint", help="refuse a training set with other contents than this")
    settings = parser.add_mutually_exclusive_group(required=True)
    settings.add_argument("--settings", type=Path, help="JSON file of model settings")
    settings.add_argument("--use-case", help="use case whose settings these are, where no file can be shared")
    parser.add_argument("--trials", type=int, help="budget of the whole study, shared by all workers")
    parser.add_argument("--threads", type=int, default=1, help="threads of this worker (default: 1)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where networks are fitted")
    parser.add_argument("--prepared", type=Path, help="folder in which workers share the encoded training set")
    parser.add_argument(
        "--checkpoints",
        type=Path,
        default=os.environ.get(_CHECKPOINTS),
        help=f"folder of checkpoints and of the best models (default: ${_CHECKPOINTS})",
    )
    parser.add_argument("--time-budget", type=float, metavar="S", help="seconds of search, restarts included")
    parser.add_argument("--device-budget", type=float, metavar="S", help="the same, summed over devices")
    parser.add_argument("--lease", metavar="FILE@TOKEN", help="write nothing once FILE holds another token")
    parser.add_argument("--seed", type=int, help="seed of the search (default: the settings' seed)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one worker; return 0 when the study is finished, 1 after an error, which goes to stderr."""
    options = arguments().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    # a worker that is asked to stop releases its trial, so that no grace period passes
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        settings = _settings(options)
        # after the arguments are checked: these imports take seconds
        from include.accelerators.lease import guard
        from include.training.study.prepared import Frozen
        from include.training.study.searching import search
        from include.training.training_set import open_training_set

        def read() -> TrainingSet:
            return open_training_set(options.training_set, options.version, options.fingerprint)

        progress = search(
            options.storage,
            options.study,
            # the fingerprint is enough to find the data that another worker has prepared
            Frozen(options.fingerprint, read) if options.fingerprint else read(),
            settings,
            trials=options.trials,
            threads=options.threads,
            prepared=options.prepared,
            checkpoints=options.checkpoints,
            device=options.device,
            allowed=guard(options.lease),
        )
    except (LifecycleError, ValidationError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(progress)
    return 0


def _settings(options: argparse.Namespace) -> ModelSettings:
    if options.use_case:
        from include.spec.loading import load_use_case

        settings = load_use_case(options.use_case).training
    else:
        settings = parse_settings(options.settings.read_text(encoding="utf-8"))
    given = {
        "seed": options.seed,
        "time_budget_seconds": options.time_budget,
        "device_budget_seconds": options.device_budget,
    }
    return settings.model_copy(update={name: value for name, value in given.items() if value is not None})


if __name__ == "__main__":
    raise SystemExit(main())
