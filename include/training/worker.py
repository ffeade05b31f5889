"""Search as a process of its own: ``python -m include.training.worker --help``.

The same command runs on a laptop, in a container and on a batch service: it needs the study
database, the training set and the settings file, and it writes to the study only.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from include.errors import LifecycleError
from include.training.spec import ModelSettings, parse_settings


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m include.training.worker",
        description="Pull trials of a study until its shared budget is used up.",
    )
    parser.add_argument("--storage", required=True, help="SQLAlchemy address of the study database")
    parser.add_argument("--study", required=True, help="name of the study; created when it is new")
    parser.add_argument("--training-set", required=True, help="Parquet file or folder, or a Delta table")
    parser.add_argument("--version", type=int, help="Delta version to read (default: the newest)")
    parser.add_argument("--fingerprint", help="refuse a training set with other contents than this")
    parser.add_argument("--settings", required=True, type=Path, help="JSON file of model settings")
    parser.add_argument("--trials", type=int, help="budget of the whole study, shared by all workers")
    parser.add_argument("--threads", type=int, default=1, help="threads of this worker (default: 1)")
    parser.add_argument("--seed", type=int, help="seed of the search (default: the settings' seed)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one worker; 0 when the study is finished, 1 with the error on stderr."""
    options = arguments().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        settings = _settings(options.settings, options.seed)
        # after the arguments are known to be good: these imports take seconds
        from include.training.study import search
        from include.training.training_set import open_training_set

        training_set = open_training_set(options.training_set, options.version, options.fingerprint)
        progress = search(
            options.storage,
            options.study,
            training_set,
            settings,
            trials=options.trials,
            threads=options.threads,
        )
    except (LifecycleError, ValidationError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(progress)
    return 0


def _settings(path: Path, seed: int | None) -> ModelSettings:
    settings = parse_settings(path.read_text())
    return settings if seed is None else settings.model_copy(update={"seed": seed})


if __name__ == "__main__":
    raise SystemExit(main())
