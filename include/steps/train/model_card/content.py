"""The content of a card, from the model's directory, its evidence, the lake's records and the study."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from include.core import partitions
from include.lake.records import Input
from include.registry.registration import Challenger
from include.steps.score import recalibration
from include.steps.train.model_card import pictures
from include.steps.train.model_card.blocks import Block, Command, Listing, Section, Table, Text
from include.steps.train.model_card.curves import curves
from include.steps.workspace import Workspace
from include.training.interval import Interval
from include.training.judging.evidence import MODEL, Evidence, OfClass, Slice
from include.training.model import Manifest, read_manifest

_LARGE_SLICE = 500
_WIDE_GAP = 0.05
_SHOWN_TRIALS = 40
_OF_CLASSES = (
    "Predicted is the mean probability of the most likely class, observed the share of rows where it was right; so too "
    "in the slices."
)


def sections(workspace: Workspace, challenger: Challenger) -> tuple[Section, ...]:
    """Return every section of the card, most important first."""
    manifest = read_manifest(challenger.model_dir)
    evidence = Evidence.model_validate(challenger.evidence)
    shifted = recalibration.evidence_of(workspace, challenger)
    return (
        _purpose(workspace, challenger),
        _figures(evidence, shifted),
        Section("Calibration", _calibration(evidence, manifest)),
        _slices(evidence, manifest),
        Section("Features", (pictures.importance(evidence.importance),)),
        Section("Known limits", (Listing(tuple(limits(workspace, evidence, manifest))),)),
        _data(workspace, challenger, manifest),
        _search(workspace, challenger, manifest),
        _again(workspace, challenger),
    )


def _purpose(workspace: Workspace, challenger: Challenger) -> Section:
    case, manifest = workspace.case, challenger.params
    facts = (
        ("what", "value"),
        ("use case", f"{case.name}, owned by {case.owner}"),
        ("predicts", _predicts(case.training.label, read_manifest(challenger.model_dir))),
        ("family", str(manifest["family"])),
        ("calibration", str(manifest["calibration"])),
        ("trained through", f"{challenger.trained_through}; it may score later partitions only"),
        ("model digest", challenger.digest),
    )
    return Section("Purpose", (Text(case.description), Table(facts)))


def _predicts(label: str, manifest: Manifest) -> str:
    classes = f": {', '.join(manifest.classes)}" if manifest.classes else ""
    return f"{label} ({manifest.task}{classes})"


def _figures(evidence: Evidence, shifted: recalibration.Evaluation | None) -> Section:
    names = list(evidence.metrics[MODEL])
    head = ("", *names, f"model minus it, {evidence.metric}")
    rows = [head, *(_candidate(evidence, name, names) for name in evidence.metrics)]
    period = _period(evidence)
    block = "day" if period == "hour" else period
    said = (
        f"Measured on {evidence.days} test {period}s that the model never saw, {evidence.first_day} to "
        f"{evidence.last_day} ({evidence.rows:,} rows). Intervals are 95 %, from resampling whole {block}s."
    )
    blocks: list[Block] = [Text(said), Table(tuple(rows))]
    if shifted is not None:
        blocks += [Text(shifted.sentence), Table(shifted.table)]
    if evidence.classes:
        blocks += [Text("The classes, and how many of each one's rows were predicted to be of it (recall):")]
        blocks += [Table((("class", "rows", "share", "recall", "predicted share"), *map(_class_row, evidence.classes)))]
    return Section("Performance", tuple(blocks))


def _class_row(one: OfClass) -> tuple[str, ...]:
    recall = "undefined" if one.recall is None else f"{one.recall:.3f}"
    return one.name, f"{one.rows:,}", f"{one.share:.3f}", recall, f"{one.predicted_share:.3f}"


def _period(evidence: Evidence) -> str:
    """Return the word for what a partition covers; a key says by its spelling what it is."""
    return partitions.period_of(evidence.first_day).value


def _candidate(evidence: Evidence, name: str, metrics: Iterable[str]) -> tuple[str, ...]:
    difference = evidence.differences.get(name, {}).get(evidence.metric)
    beside = "" if difference is None else interval(difference)
    return name, *(interval(evidence.metrics[name][metric]) for metric in metrics), beside


def interval(found: Interval) -> str:
    """Return a figure with its interval, as text."""
    if found.value is None:
        return "undefined"
    bounds = "" if found.low is None else f" [{found.low:.4f}, {found.high:.4f}]"
    return f"{found.value:.4f}{bounds}"


def _calibration(evidence: Evidence, manifest: Manifest) -> tuple[Block, ...]:
    if not evidence.reliability:
        return ()
    drawn = pictures.reliability(evidence.reliability, manifest.label, manifest.task)
    return (Text(_OF_CLASSES), drawn) if manifest.classes else (drawn,)


def _slices(evidence: Evidence, manifest: Manifest) -> Section:
    if not evidence.slices:
        return Section("Slices", (Text("The spec names no columns to slice by."),))
    names = list(evidence.slices[0].metrics)
    head = ("slice", "rows", f"{_period(evidence)}s", "observed", "predicted", *names)
    drawn = pictures.slices(evidence.slices, manifest.label, manifest.task)
    return Section("Slices", (drawn, Table((head, *map(_slice_row, evidence.slices)))))


def _slice_row(found: Slice) -> tuple[str, ...]:
    figures = ("" if value is None else f"{value:.4f}" for value in found.metrics.values())
    means = f"{found.label_mean:.3f}", f"{found.predicted_mean:.3f}"
    return f"{found.column}={found.value}", f"{found.rows:,}", str(found.days), *means, *figures


def limits(workspace: Workspace, evidence: Evidence, manifest: Manifest) -> list[str]:
    """List the limits that the spec names, and those that the figures show as weak or not proven."""
    windows = manifest.training_set.windows
    found = list(workspace.case.limits)
    found.append(
        f"The model learnt from {windows['train']['first']} to {windows['train']['last']} and was judged on "
        f"{evidence.first_day} to {evidence.last_day} only: these figures say little about other seasons."
    )
    for name, metrics in evidence.differences.items():
        difference = metrics[evidence.metric]
        if not difference.better:
            found.append(f"Not shown to be better than {name} in {evidence.metric}: {interval(difference)}.")
    predicted, observed = _means(evidence)
    if abs(predicted - observed) > _WIDE_GAP:
        found.append(_moved(evidence, predicted, observed))
    found += [
        f"It never predicts {one.name!r}, which {one.share:.1%} of the test rows are ({one.rows:,})."
        for one in evidence.classes
        if one.rows and not one.predicted_share
    ]
    found += [
        f"{one.column}={one.value} is off by {one.predicted_mean - one.label_mean:+.3f} on average "
        f"({one.rows:,} rows in {one.days} {_period(evidence)}s)."
        for one in evidence.slices
        if one.rows >= _LARGE_SLICE and abs(one.predicted_mean - one.label_mean) > _WIDE_GAP
    ]
    small = [f"{one.column}={one.value}" for one in evidence.slices if one.rows < _LARGE_SLICE]
    if small:
        found.append(f"Fewer than {_LARGE_SLICE} test rows, so hardly judged: {', '.join(small)}.")
    return found


def _moved(evidence: Evidence, predicted: float, observed: float) -> str:
    if not evidence.classes:
        return f"The base rate moved: it predicted {predicted:.3f} on average where {observed:.3f} was observed."
    how = "too certain" if predicted > observed else "not certain enough"
    return f"It is {how}: its class had the probability {predicted:.3f} on average, and was right in {observed:.3f}."


def _means(evidence: Evidence) -> tuple[float, float]:
    rows = sum(one.rows for one in evidence.reliability) or 1
    predicted = sum(one.rows * one.predicted for one in evidence.reliability) / rows
    return predicted, sum(one.rows * one.observed for one in evidence.reliability) / rows


def _data(workspace: Workspace, challenger: Challenger, manifest: Manifest) -> Section:
    data = challenger.trained_on
    facts = [
        ("what", "value"),
        ("training set", f"{data.name}, version {data.version}"),
        ("rows", f"{data.rows:,}"),
        ("fingerprint", data.fingerprint),
        ("features", f"{len(manifest.features)} of service {workspace.case.features.service}"),
    ]
    windows = [("window", "first", "last", "partitions", "rows")]
    for name, span in manifest.training_set.windows.items():
        windows.append((name, str(span["first"]), str(span["last"]), str(span["days"]), f"{span['rows']:,}"))
    inputs = [("table", "version", "first", "last", "fingerprint")]
    for name, read in sorted(_inputs(workspace, challenger).items()):
        inputs.append((name, str(read.version), read.first, read.last, read.fingerprint[:16]))
    return Section("Data", (Table(tuple(facts)), Table(tuple(windows)), Table(tuple(inputs))))


def _inputs(workspace: Workspace, challenger: Challenger) -> Mapping[str, Input]:
    """Return the tables, with versions, that the training set was frozen from."""
    history = workspace.lake.history(challenger.trained_on.name)
    return next((record.inputs for record in history if record.version == challenger.trained_on.version), {})


def _search(workspace: Workspace, challenger: Challenger, manifest: Manifest) -> Section:
    winner = (
        f"Trial {manifest.trial} of {len(challenger.trials)} won with {manifest.metric} {manifest.search_value:.5f} on "
        f"the validation window; seed {manifest.seed}; parameters {json.dumps(manifest.params, sort_keys=True)}."
    )
    drawn = pictures.learning_curves(
        curves(workspace.settings.optuna_storage, challenger.study), manifest.metric, manifest.trial
    )
    shown = sorted(challenger.trials, key=lambda one: _rank(one))[:_SHOWN_TRIALS]
    head = ("trial", "family", "state", manifest.metric, "seconds", "reason")
    rows = tuple(
        tuple(_cell(one.get(name)) for name in ("number", "family", "state", "value", "seconds", "reason"))
        for one in shown
    )
    return Section("The search", (Text(winner), *([drawn] if drawn else []), Table((head, *rows))))


def _rank(trial: Mapping[str, object]) -> tuple[bool, int]:
    return trial.get("state") != "complete", int(str(trial.get("number", 0)))


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _again(workspace: Workspace, challenger: Challenger) -> Section:
    name, as_of = workspace.case.name, challenger.more_tags.get("as_of", "")
    data = challenger.trained_on
    frozen = f"--as-of {as_of} --content {data.fingerprint[:12]} --version {data.version}"
    rebuild = f"python -m include.steps.train.rebuild --use-case {name} {frozen}"
    train = f"airflow dags trigger {name}_train --conf '{json.dumps({'as_of': as_of})}'"
    said = (
        f"Trained by DAG run {challenger.dag_run_id} with the code of commit {challenger.code_version}. The first "
        "command builds the training set again from the input versions above, and fails unless its rows have the same "
        "fingerprint; the second command trains on it. The same code, seed and one worker give the same winner."
    )
    return Section("How to rebuild it", (Text(said), Command(f"make shell\n{rebuild}\n{train}")))
