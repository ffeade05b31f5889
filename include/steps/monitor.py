"""Monitor: judge the window of each partition, stage the verdicts as rows, write a report of each window."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from include.core import fault_points, partitions
from include.core.errors import MissingPartitions
from include.core.partitions import Span
from include.core.sql import identifier
from include.feature_store import feature_sql
from include.lake.records import Attempt
from include.monitoring import drift, drift_report, window_verdicts
from include.monitoring.profile import ReferenceProfile
from include.monitoring.reference import Reference, read_reference
from include.promotion import ledger
from include.steps import inputs, provenance
from include.steps.handover import Stages
from include.steps.score import predicting, recalibration
from include.steps.workspace import Workspace, WorkspaceReader
from include.training import predictions
from include.training.interval import Interval
from include.training.judging.evidence import MODEL
from include.training.labels import with_new_classes
from include.training.model import EVIDENCE, read_evidence
from include.training.predictions import PREDICTION, PROBABILITIES, PROBABILITY

_PREDICTIONS = (PREDICTION, PROBABILITY)
"""The columns of a prediction whose drift is measured; the second is there for classes only."""
_log = logging.getLogger(__name__)


def stage(workspace: Workspace, span: Span, attempt: Attempt) -> Stages:
    """Stage the verdict rows of the window of each partition of ``span``.

    The window of a day compares the rows of the last days with the reference that is stored with the model
    which scored that day, and judges the predictions of past days whose outcomes are nearly complete.

    Raises:
        MissingPartitions: the predictions of a day, or the features of its window, are not published.
        DigestMismatch: the model's files, the reference among them, are not the registered ones.
    """
    case, now = workspace.case, workspace.at_one_moment()
    keys = case.check_span(span).keys
    wanted = inputs.wanted(now, "monitor", span)
    for table, parts in wanted.items():
        now.lake.require(table, parts)
    rows = pa.concat_tables([_verdicts(now, key) for key in keys])
    table = case.table("monitoring", "verdicts")
    order = ("kind", "metric", "column")
    staged = workspace.lake.stage(table, rows.to_reader(), keys, attempt, order, inputs.read(now, wanted))
    return Stages(folders={table: staged.path})


def training_requested(workspace: Workspace, key: str, origin: str, attempt: Attempt) -> tuple[bool, str]:
    """Return whether the windows up to ``key`` request a training, and why; publish a request as a row.

    ``origin`` is the run type with which the chain of DAG runs began: a backfill never requests a training.
    """
    case = workspace.case
    version = _scored_by(workspace, key)
    promoted = [entry for entry in ledger.promotions(workspace.lake, workspace.case) if entry.version == version]
    trained_through = promoted[-1].trained_through if promoted else case.history.first
    rule = case.monitoring.retraining
    windows = Span(first=partitions.shift(key, 1 - rule.windows), last=key).keys
    verdicts = workspace.lake.dataset(case.table("monitoring", "verdicts"), windows).to_table()
    found = window_verdicts.training_requested(
        window_verdicts.violations(verdicts, key, rule, model_version=version),
        key,
        rule,
        run_type=origin,
        trained_through=trained_through,
        last_request=_last_request(workspace, key),
    )
    if not found.requested:
        return False, found.reason
    asked = workspace.lake.records(case.table("monitoring", "requests"), [key]).get(key)
    if asked is None:
        _record_request(workspace, key, version, found.reason, attempt)
        fault_points.reached("monitor.request_recorded", key)
    elif (asked.attempt.dag_id, asked.attempt.run_id) != (attempt.dag_id, attempt.run_id):
        # the same DAG run may ask again: perhaps it was killed before it could trigger the training
        return False, f"{found.reason}; {asked.attempt.run_id} asked for a training already"
    return True, found.reason


def _verdicts(workspace: WorkspaceReader, key: str) -> pa.Table:
    """Judge one window, and return its verdict rows."""
    case = workspace.case
    scores = _scores(workspace, key)
    version = _scored_by(workspace, key)
    folder = predicting.model_folder(workspace, version)
    reference = read_reference(folder)
    current = _window_rows(workspace, key, _unshifted(workspace, scores, reference))
    decided = drift.decide(reference.profile, current, case.monitoring.drift) if current.num_rows else []
    report = _report(workspace, key, reference, current, decided)
    fault_points.reached("monitor.report_written", key)
    figures = []
    if provenance.label_changed(workspace, predicting.model_version(workspace, version)):
        _log.warning("%s: the label has another definition than version %d learnt; not judged", key, version)
    elif (judged := _judged(workspace, key, scores, version, reference.profile, _promised(folder))) is not None:
        settings, least = case.training, case.monitoring.quality.min_rows
        if len(judged.y) < least:
            _log.info("%s: %d outcomes are known, %d are needed: figures without a verdict", key, len(judged.y), least)
        figures = window_verdicts.quality(
            judged, case.monitoring.quality, task=settings.task, metric_name=settings.metric
        )
    return window_verdicts.verdict_rows(
        key, version, case.monitoring, drifts=decided, predictions=_PREDICTIONS, figures=figures,
        rows=current.num_rows, report=report.html,
    )  # fmt: skip


def _promised(folder: Path) -> dict[str, Interval]:
    """Return the metrics that the model's evidence shows of its own test window; empty if it has none."""
    return read_evidence(folder).metrics[MODEL] if (folder / EVIDENCE).exists() else {}


def _scored_by(workspace: WorkspaceReader, key: str) -> int:
    """Return the version that scored a day, from the record of its predictions: the day may rightly have no rows.

    Raises:
        MissingPartitions: the day is not scored.
    """
    table = workspace.case.table("predictions", "scores")
    record = workspace.lake.records(table, [key]).get(key)
    if record is None:
        raise MissingPartitions(f"{table}: {key} not published; run {workspace.case.name}_score for it")
    if key in record.notes.get("models", {}):
        return int(record.notes["models"][key])
    version: int = workspace.lake.dataset(table, [key]).head(1, ["model_version"])["model_version"][0].as_py()
    return version


def _scores(workspace: WorkspaceReader, key: str) -> pa.Table:
    """Return the published predictions of the days in the windows of ``key``; days without predictions are left out."""
    table = workspace.case.table("predictions", "scores")
    return workspace.lake.dataset(table, inputs.optional(workspace, "monitor", Span.one(key))[table]).to_table()


def _unshifted(workspace: WorkspaceReader, scores: pa.Table, reference: Reference) -> pa.Table:
    """Remove from ``scores`` the offsets that recalibration added.

    The reference has no offsets, and a recalibrated change of the base rate is not a drift of the model.
    """
    days = scores["ds"].unique().to_pylist()
    records = workspace.lake.records(workspace.case.table("predictions", "scores"), days)
    offsets = {day: predicting.offset_of(record) for day, record in records.items()}
    if not any(offsets.values()):
        return scores
    of_rows = np.array([offsets[day] for day in scores["ds"].to_pylist()])
    known = np.array(reference.profile.numeric[PREDICTION].values)
    said = recalibration.undo(scores[PREDICTION].to_numpy(), of_rows, known)
    return scores.set_column(scores.column_names.index(PREDICTION), PREDICTION, pa.array(said))


def _window_rows(workspace: WorkspaceReader, key: str, scores: pa.Table) -> pa.Table:
    """Return the model's inputs on the window's days, with its predictions where a day was scored."""
    case = workspace.case
    window = Span.one(key).with_periods_before(case.monitoring.drift.window_periods - 1, case.history.first)
    seen = predicting.entity_rows(workspace, window)
    on = ["ds", *case.predictions.key]
    said = [name for name in _PREDICTIONS if name in scores.column_names]
    return seen.join(scores.select([*on, *said]), on, join_type="left outer")


def _report(
    workspace: WorkspaceReader,
    key: str,
    reference: Reference,
    current: pa.Table,
    decided: list[drift.ColumnDrift],
) -> drift_report.DriftReport:
    written = drift_report.write(
        reference.sample.to_pandas(),
        current.to_pandas(),
        decided,
        _report_folder(workspace, key),
        categorical=tuple(reference.profile.categorical),
        spec=workspace.case.monitoring.drift,
        predictions=_PREDICTIONS,
        seed=workspace.case.training.seed,
    )
    for column, why in written.disagreeing.items():
        _log.warning("%s: the report's sample judges %s otherwise than all rows do: %s", key, column, why)
    return written


def _report_folder(workspace: WorkspaceReader, key: str) -> Path:
    """Return a folder named by the content of the window's inputs, so that the same window always has the same page."""
    window = Span.one(key)
    wanted = inputs.wanted(workspace, "monitor", window) | inputs.optional(workspace, "monitor", window)
    seen = inputs.content_of(workspace, wanted)
    return Path(workspace.settings.reports_root) / "drift" / workspace.case.name / key / seen


def _judged(
    workspace: WorkspaceReader,
    key: str,
    scores: pa.Table,
    version: int,
    reference: ReferenceProfile,
    promised: Mapping[str, Interval],
) -> window_verdicts.Judged | None:
    """Join predictions of this version with their outcomes, for the window of days with complete outcomes.

    None when this version has scored no such day. An outcome of a class that the model does not know is judged too: it
    had the probability 0.
    """
    case, last = workspace.case, workspace.case.last_label_period(key)
    window = Span(first=partitions.shift(last, 1 - case.monitoring.quality.window_periods), last=last).keys
    judged = pc.and_(pc.is_in(scores["ds"], pa.array(window)), pc.equal(scores["model_version"], version))
    past = scores.filter(judged)
    if past.num_rows == 0:
        return None
    days = Span(first=pc.min(past["ds"]).as_py(), last=last)
    with workspace.connect() as con:
        for name in case.partitioned_raw:
            workspace.attach(con, name, case.table("raw", name), partitions.key_range(days.first, key))
        query = feature_sql.training_rows(con, case, days, key)
        said = [name for name in (PREDICTION, PROBABILITIES) if name in past.column_names]
        con.register("past", past.select(["ds", *case.predictions.key, *said]))
        on, label = ", ".join(map(identifier, ("ds", *case.predictions.key))), identifier(case.training.label)
        rows = con.sql(
            f"SELECT ds, {', '.join(said)}, label FROM (SELECT {on}, {label} AS label FROM ({query})) "
            f"JOIN past USING ({on}) ORDER BY {on}"
        ).to_arrow_table()
    if rows.num_rows == 0:
        return None
    if not reference.class_shares:
        y = rows["label"].to_numpy().astype(np.float64)
        rate = reference.label_mean if reference.label_rate is None else reference.label_rate
        constant = {} if rate is None else {"constant": np.full(len(y), rate)}
        said_there = predictions.of_columns(rows, ())
        return window_verdicts.Judged(rows["ds"].to_pylist(), y, said_there, constant, promised=promised)
    # a null outcome is of no class: it is not known
    rows = rows.filter(pc.is_valid(rows["label"]))
    if rows.num_rows == 0:
        return None
    y, classes = with_new_classes(rows["label"], tuple(reference.class_shares))
    shares = [reference.class_shares.get(name, 0.0) for name in classes]
    return window_verdicts.Judged(
        rows["ds"].to_pylist(),
        y,
        predictions.of_columns(rows, classes),
        {"constant": np.repeat([shares], len(y), axis=0)},
        classes,
        len(classes) - len(reference.class_shares),
        promised,
    )


def _last_request(workspace: Workspace, key: str) -> str | None:
    # later requests count as well: monitoring an old partition again must not repeat an answered request
    requested = [k for k in workspace.lake.keys(workspace.case.table("monitoring", "requests")) if k != key]
    return max(requested, default=None)


def _record_request(workspace: Workspace, key: str, version: int, reason: str, attempt: Attempt) -> None:
    row: dict[str, Any] = {"model_version": version, "reason": reason, "ds": key}
    rows = pa.Table.from_pylist([row])
    staged = workspace.lake.stage(workspace.case.table("monitoring", "requests"), rows.to_reader(), [key], attempt, ())
    workspace.lake.publish(staged, attempt)
    workspace.lake.discard(staged)
