"""Train on this machine, without Airflow, and compare the figures; nothing is registered or promoted.

Freezes the training set as of a partition (or finds it frozen), searches with the spec's budget, fits the winner,
judges it on the test window, and writes a folder with model, evidence and model card. The table at the end has the
figures beside those of the champion, which predicts the same rows, and of the last experiments as of that partition.

Study, card and model stay in the folder: the studies of the training DAG, MLflow and the ledger are not touched. The
training set is frozen in the lake, as by the DAG; a DAG run that trains on the same rows finds it there. The same
experiment is run once: the command then shows what it found. An interrupted one goes on where it stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from include.core import command
from include.core.errors import LifecycleError
from include.lake.records import DEFINITION, Attempt
from include.monitoring import reference
from include.promotion import ledger
from include.spec.training import ModelSettings
from include.steps.handover import Fitted, FrozenTrainingSet
from include.steps.score import predicting
from include.steps.train import model_card, registering, search, training_sets
from include.steps.workspace import Workspace
from include.training import fit as fitting
from include.training.data import split
from include.training.interval import Interval
from include.training.judging.evidence import MODEL, Evidence, evaluate
from include.training.model import EVIDENCE, Manifest
from include.training.study import searching
from include.training.study.storage import alone
from include.training.training_set import open_training_set

FOLDER, RESULT, _MODEL, _CARD = "experiments", "experiment.json", "model", "model_card"
_DAG, _SHOWN = "train_local", 5

Say = Callable[[str], None]


class Judged(BaseModel):
    """The figures of one model on a test window.

    Attributes:
        name: ``this``, ``champion 3``, or the name of an earlier experiment.
        family: model family, or ``blend``.
        features: the columns that it predicts from.
        first_day, last_day, rows: the test window.
        metrics: each metric of the task with its interval.
        remark: what makes a comparison with it uneven; empty for nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    family: str
    features: tuple[str, ...]
    first_day: str
    last_day: str
    rows: int
    metrics: dict[str, Interval]
    remark: str = ""


class Experiment(BaseModel):
    """One experiment, as ``experiment.json`` of its folder holds it.

    Attributes:
        as_of: partition at whose clock the training set was frozen.
        training_set: table, Delta version and fingerprint of the frozen set.
        definition: digest of the queries that the set was made by.
        code_version: commit of the code.
        trials: budget of the search.
        finished: when it was done, by the wall clock; only the order of the table depends on it.
        judged: its figures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    as_of: str
    training_set: tuple[str, int, str]
    definition: str
    code_version: str
    trials: int
    finished: datetime
    judged: Judged


def run(
    workspace: Workspace,
    as_of: str | None = None,
    trials: int | None = None,
    again: bool = False,
    say: Say = lambda line: None,
) -> tuple[Experiment, Path]:
    """Run one experiment, or find the same one done; return it with its folder.

    Args:
        workspace: the use case in a deployment.
        as_of: partition whose clock the training set is frozen at; the newest with features when None.
        trials: budget of the search; the spec's when None.
        again: whether to run it even if the same one is done.
        say: takes a line of progress.

    Raises:
        LifecycleError: see ``training_sets.freeze`` and ``searching.search``.
    """
    day = workspace.check_partition(as_of or workspace.newest("features"))
    frozen = _frozen(workspace, day)
    say(f"training set: {frozen.table}, version {frozen.version}, {frozen.rows} rows")
    settings = workspace.case.training
    budget = settings.trials if trials is None else trials
    folder = folder_of(workspace, day) / _name(frozen, settings, budget, workspace.settings.code_version)
    if again:
        shutil.rmtree(folder, ignore_errors=True)
    if (folder / RESULT).exists():
        say(f"the same experiment is done; --again runs it anew: {folder}")
        return _read(folder), folder
    apart = _apart(workspace, folder)
    by = apart.attempt(_DAG, folder.name, 1)
    say(f"search: {budget} trials of {', '.join(settings.families)}")
    search.search_here(apart, frozen, budget)
    say("fit and judge the best trial")
    with alone(apart.settings.optuna_storage, "experiment"):
        if (folder / RESULT).exists():
            # another command ran the same experiment meanwhile
            return _read(folder), folder
        judged = _fit(apart, frozen, folder, by)
        made = _finished(workspace, frozen, budget, judged)
        # last: a folder without it is one of an experiment that did not finish
        (folder / RESULT).write_text(made.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return made, folder


def folder_of(workspace: Workspace, as_of: str) -> Path:
    """Return the folder of all experiments as of a partition."""
    return Path(workspace.settings.work_root) / FOLDER / workspace.case.name / as_of


def earlier(workspace: Workspace, this: Path) -> list[Judged]:
    """Return the figures of the last other experiments as of the same partition, newest first."""
    found = [(_read(path.parent), path.parent) for path in this.parent.glob(f"*/{RESULT}") if path.parent != this]
    found.sort(key=lambda one: one[0].finished, reverse=True)
    return [made.judged.model_copy(update={"name": folder.name}) for made, folder in found[:_SHOWN]]


def champion(workspace: Workspace, made: Experiment) -> Judged | str | None:
    """Judge the champion on the test window of an experiment; a text says why that cannot be done, None is no champion.

    The champion's predictions are those of the model alone, as the experiment's are: without recalibration.
    """
    entries = ledger.promotions(workspace.lake, workspace.case)
    if not entries:
        return None
    name, settings = f"champion {entries[-1].version}", workspace.case.training
    table, version, fingerprint = made.training_set
    try:
        model = predicting.load_version(workspace, entries[-1].version)
        rows = open_training_set(workspace.lake.uri(table), version, fingerprint).table
        windows = split(rows, settings)
        figures_only = settings.model_copy(update={"baselines": [], "slices": []})
        found = evaluate(model, windows, figures_only, workspace.settings.threads)
    except LifecycleError as error:
        return f"{name} cannot be judged on these rows: {error}"
    known = model.manifest.known_of(windows.test.keys)
    remark = f"has learnt from {known} of the {len(windows.test.keys)} test partitions" if known else ""
    return _judged(name, model.manifest, found, remark)


def table(this: Judged, others: Sequence[Judged]) -> list[str]:
    """Return the lines of a table: one row a model, one column a metric, and how its features differ from ``this``."""
    names = list(this.metrics)
    rows = [["", *names, "judged on", "family", "features"]]
    for one in (this, *others):
        window = f"{one.first_day}..{one.last_day}, {one.rows} rows"
        rows.append(
            [one.name, *(_figure(one.metrics.get(name)) for name in names), window, one.family, _features(one, this)]
        )
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [*lines, *(f"{one.name} {one.remark}, which favours it" for one in others if one.remark)]


def _frozen(workspace: Workspace, as_of: str) -> FrozenTrainingSet:
    """Freeze the set with a Feast registry of its own: an experiment registers nothing that a DAG run reads."""
    with tempfile.TemporaryDirectory(prefix="experiment-") as scratch:
        own = {"feast_registry": f"sqlite:///{scratch}/registry.db", "online_store": f"{scratch}/online.db"}
        apart = Workspace(workspace.settings.model_copy(update=own), workspace.case)
        started = datetime.now(UTC).isoformat(timespec="milliseconds")
        return training_sets.freeze(apart, as_of, apart.attempt(_DAG, f"{as_of} {started}", 1))


def _name(frozen: FrozenTrainingSet, settings: ModelSettings, budget: int, code_version: str) -> str:
    """Name an experiment by all that decides its result: rows, settings, budget and code."""
    told = hashlib.sha256(f"{settings.model_dump_json()} {budget} {code_version}".encode()).hexdigest()
    return f"{frozen.fingerprint[:8]}-{told[:8]}"


def _apart(workspace: Workspace, folder: Path) -> Workspace:
    """Return the workspace with studies, work files and reports in the experiment's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    own = {
        "optuna_storage": f"sqlite:///{folder / 'study.db'}",
        "work_root": str(folder / "work"),
        "reports_root": str(folder),
    }
    return Workspace(workspace.settings.model_copy(update=own), workspace.case)


def _fit(apart: Workspace, frozen: FrozenTrainingSet, folder: Path, by: Attempt) -> Judged:
    """Fit the winner, and write model, evidence and card; the search's own files are deleted."""
    rows, model = training_sets.load(frozen), folder / _MODEL
    shutil.rmtree(model, ignore_errors=True)
    fitted = fitting.fit_best(
        apart.settings.optuna_storage,
        search.study_of(apart, rows),
        rows,
        apart.case.training,
        model,
        use_case=apart.case.name,
        threads=apart.settings.threads,
        checkpoints=search.places(apart).checkpoints,
        write_reference=reference.write_reference,
    )
    described = registering.describe(apart, Fitted(model_dir=str(model), digest=fitted.digest, training_set=frozen), by)
    model_card.write(apart, described, folder / _CARD)
    shutil.rmtree(apart.settings.work_root, ignore_errors=True)
    return _judged("this", fitted.manifest, fitted.evidence)


def _judged(name: str, manifest: Manifest, found: Evidence, remark: str = "") -> Judged:
    return Judged(
        name=name,
        family=manifest.family,
        features=tuple(feature.name for feature in manifest.features),
        first_day=found.first_day,
        last_day=found.last_day,
        rows=found.rows,
        # the training's own metric comes first
        metrics={found.metric: found.primary, **found.metrics[MODEL]},
        remark=remark,
    )


def _finished(workspace: Workspace, frozen: FrozenTrainingSet, budget: int, judged: Judged) -> Experiment:
    record = workspace.lake.records(frozen.table, [frozen.as_of])[frozen.as_of]
    return Experiment(
        as_of=frozen.as_of,
        training_set=(frozen.table, frozen.version, frozen.fingerprint),
        definition=str(record.notes.get(DEFINITION, "")),
        code_version=workspace.settings.code_version,
        trials=budget,
        finished=datetime.now(UTC),
        judged=judged,
    )


def _read(folder: Path) -> Experiment:
    return Experiment.model_validate_json((folder / RESULT).read_text(encoding="utf-8"))


def _figure(found: Interval | None) -> str:
    if found is None or found.value is None:
        return "-"
    between = "" if found.low is None or found.high is None else f" [{found.low:.4g}, {found.high:.4g}]"
    return f"{found.value:.4g}{between}"


def _features(one: Judged, this: Judged) -> str:
    more = [f"+{name}" for name in one.features if name not in this.features]
    less = [f"-{name}" for name in this.features if name not in one.features]
    return " ".join([str(len(one.features)), *more, *less])


# ---- the command ----------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="make train-local CASE=<name> [AS_OF=<partition>] ARGS=...",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--use-case", required=True, help="the use case (CASE of make)")
    parser.add_argument("--as-of", help="train on what was known at this partition's clock; the newest if left out")
    parser.add_argument("--trials", type=_positive, help="trials of the search, in place of the spec's training.trials")
    parser.add_argument("--again", action="store_true", help="run it although the same experiment is done")
    asked = parser.parse_args(arguments)
    # a champion in an MLflow that does not run is told at once, and not after minutes of trying again
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    try:
        workspace = Workspace.open(asked.use_case)
        with _trials_shown():
            made, folder = run(workspace, asked.as_of, asked.trials, asked.again, _say)
        for line in report(workspace, made, folder):
            print(line, flush=True)
    except LifecycleError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on where it stopped", file=sys.stderr)
        return 130
    return 0


def report(workspace: Workspace, made: Experiment, folder: Path) -> list[str]:
    """Return what the command prints: the table, and where the files are."""
    best, others = champion(workspace, made), earlier(workspace, folder)
    judged = [best, *others] if isinstance(best, Judged) else others
    lines = [f"{workspace.case.name} as of {made.as_of}, {made.trials} trials", *table(made.judged, judged)]
    lines += [best] if isinstance(best, str) else []
    lines += ["there is no champion to compare with"] if best is None else []
    return [*lines, f"card:     {folder / _CARD / model_card.HTML}", f"evidence: {folder / _MODEL / EVIDENCE}"]


@contextmanager
def _trials_shown() -> Iterator[None]:
    """Show a line for each trial until the block ends."""
    shown = logging.StreamHandler(sys.stdout)
    shown.setFormatter(logging.Formatter("  %(message)s"))
    log = logging.getLogger(searching.__name__)
    level = log.level
    log.addHandler(shown)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(shown)
        log.setLevel(level)


def _say(line: str) -> None:
    print(line, flush=True)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("give at least 1")
    return number


if __name__ == "__main__":
    command.run(main)
