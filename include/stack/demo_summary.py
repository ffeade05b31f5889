"""The summary of a use case that the demo prints: tables read from the lake, the study and the registry."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from include.core.partitions import Span
from include.core.settings import Settings
from include.core.sql import identifier
from include.feature_store import feature_sql
from include.lake.records import Record
from include.promotion import ledger
from include.sources.adapter import REFERENCE
from include.spec.loading import load_use_case
from include.steps.score import predicting
from include.steps.workspace import Workspace
from include.training.interval import Interval
from include.training.judging.evidence import MODEL, Evidence
from include.training.model import read_evidence
from include.training.predictions import PREDICTION, PROBABILITY
from include.training.study.results import study_progress

Row = tuple[str, ...]
Section = tuple[str, list[Row]]
"""A title and rows of cells; the first row names the columns."""

DAYS_SHOWN = 7


def summarize(settings: Settings, use_case: str = "flights") -> list[Section]:
    """Return every table of the summary, in the order of the steps; a step that has not run has no table."""
    workspace = Workspace(settings, load_use_case(use_case))
    sections = [_data(workspace), *_model(workspace), *_days(workspace), _places(workspace)]
    return [section for section in sections if len(section[1]) > 1]


def _data(workspace: Workspace) -> Section:
    rows: list[Row] = [("layer", "partitions", "rows", "expectations checked", "warned", "failed")]
    for layer, label in (("raw", "raw tables landed"), ("features", "feature snapshots")):
        records = [r for table in _tables(workspace, layer) for r in workspace.lake.records(table).values()]
        days = {record.key for record in records} - {REFERENCE}
        counts = _audited(records)
        rows.append((label, f"{len(days):,}", f"{sum(r.rows for r in records):,}", *map(str, counts)))
    quarantined = workspace.lake.records(workspace.case.table("quarantine", "rows")).values()
    rows.append(("rows in quarantine", "", f"{sum(record.rows for record in quarantined):,}", "", "", ""))
    return "Data", rows


def _audited(records: list[Record]) -> tuple[int, int, int]:
    """Count expectations checked, warned and failed in the audits behind ``records``, each audit once."""
    audits = {(r.table, r.version): r.notes["audit"] for r in records if "audit" in r.notes}
    return (
        sum(audit["checked"] for audit in audits.values()),
        sum(audit["warned"] for audit in audits.values()),
        sum(audit["failed"] for audit in audits.values()),
    )


def _model(workspace: Workspace) -> list[Section]:
    entries = ledger.promotions(workspace.lake, workspace.case)
    if not entries:
        return []
    champion = predicting.model_version(workspace, entries[-1].version)
    folder = predicting.model_folder(workspace, champion.number)
    found = read_evidence(folder)
    progress = study_progress(workspace.settings.optuna_storage, champion.tags["study"])
    about: list[Row] = [
        ("champion", "trained through", "trials run", "pruned", "failed", "resumed from a checkpoint"),
        (
            f"version {champion.number} ({champion.tags.get('family', '')})",
            champion.trained_through,
            f"{progress.done + progress.pruned + progress.failed} of {progress.total}",
            str(progress.pruned),
            str(progress.failed),
            str(progress.resumed),
        ),
    ]
    period = workspace.case.period.value
    title = f"Evidence on {found.days} test {period}s ({found.first_day}..{found.last_day}, {found.rows:,} rows)"
    block = "day" if period == "hour" else period
    return [("Champion", about), (f"{title}, 95 % intervals over whole {block}s", _evidence(found))]


def _evidence(found: Evidence) -> list[Row]:
    shown = ("log_loss", "auc", "rmse", "mae", "auc_macro", "accuracy")
    names = [name for name in shown if name in found.metrics[MODEL]]
    rows: list[Row] = [("", *names, f"model minus it, {found.metric}")]
    for candidate, metrics in found.metrics.items():
        difference = found.differences.get(candidate, {}).get(found.metric)
        verdict = ""
        if difference is not None:
            sure = "excludes zero" if difference.better or difference.worse else "includes zero"
            verdict = f"{_interval(difference)} {sure}"
        rows.append((candidate, *(_interval(metrics[name]) for name in names), verdict))
    return rows


def _days(workspace: Workspace) -> list[Section]:
    """Return predicted and observed means of the last scored days, beside the verdicts of monitoring.

    Of classes it is the mean probability of the predicted one, and how often it was right.
    """
    case, lake = workspace.case, workspace.lake
    keys = lake.keys(case.table("predictions", "scores"))[-DAYS_SHOWN:]
    if not keys:
        return []
    scores = lake.dataset(case.table("predictions", "scores"), keys).to_table()
    observed = _observed(workspace, keys, scores)
    said, what = (PROBABILITY, "right") if PROBABILITY in scores.column_names else (PREDICTION, "mean")
    rows: list[Row] = [
        (case.period.value, "scored", "model", "predicted", "observed", "data drift", "other violations")
    ]
    verdicts = _verdicts(workspace, keys)
    for key in keys:
        of_day = scores.filter(pc.equal(scores["ds"], key))
        versions = ", ".join(str(v) for v in of_day["model_version"].unique().to_pylist())
        drift, other = verdicts.get(key, ("", ""))
        share = observed.get(key)
        rows.append(
            (
                key,
                f"{of_day.num_rows:,}",
                versions,
                f"{pc.mean(of_day[said]).as_py():.3f}",
                "not known yet" if share is None else f"{share:.3f}",
                drift,
                other,
            )
        )
    return [(f"Scored {case.period.value}s: {what} {case.training.label}", rows)]


def _observed(workspace: Workspace, keys: list[str], scores: pa.Table) -> dict[str, float]:
    """Return the label's mean by day, or the share of right classes, of days with outcomes of over 98 % of the rows."""
    case = workspace.case
    with workspace.connect() as con:
        con.register("scores", scores)
        for name in case.partitioned_raw:
            landed = [key for key in workspace.lake.keys(case.table("raw", name)) if key >= keys[0]]
            workspace.attach(con, name, case.table("raw", name), landed)
        labels = feature_sql.label_rows(con, case, Span.of(keys))
        on, label = ", ".join(map(identifier, ("ds", *case.training.keys))), identifier(case.training.label)
        if PROBABILITY in scores.column_names:
            outcome = f"CAST(CAST({label} AS VARCHAR) = {PREDICTION} AS INTEGER)"
        else:
            outcome = label
        found = con.sql(
            f"SELECT ds, avg({outcome}) AS share, count({label}) / count(*) AS known "
            f"FROM scores LEFT JOIN ({labels}) USING ({on}) GROUP BY ds"
        ).fetchall()
    return {key: share for key, share, known in found if known > 0.98}


def _verdicts(workspace: Workspace, keys: list[str]) -> dict[str, Row]:
    """Return by day the share of drifted columns and the names of the other violated window verdicts."""
    table = workspace.case.table("monitoring", "verdicts")
    if workspace.lake.version(table) is None:
        return {}
    found = workspace.lake.dataset(table, keys).to_table()
    whole = found.filter(pc.is_null(found["column"])).to_pylist()
    rows: dict[str, Row] = {}
    for key in keys:
        of_day = [row for row in whole if row["ds"] == key]
        shares = [row for row in of_day if row["metric"] == "drift_share"]
        drift = f"{shares[0]['value']:.0%}{' DRIFT' if shares[0]['violated'] else ''}" if shares else ""
        other = [f"{r['kind']} {r['metric']}" for r in of_day if r["violated"] and r["metric"] != "drift_share"]
        if of_day:
            rows[key] = (drift, ", ".join(other) or "none")
    return rows


def _places(workspace: Workspace) -> Section:
    reports = Path(workspace.settings.reports_root)
    name = workspace.case.name
    return "Where to look", [
        ("what", "where"),
        ("GX data docs", str(reports / "data_docs" / name)),
        ("Evidently reports", str(reports / "drift" / name)),
        ("lake (Delta tables)", workspace.settings.lake_root),
    ]


def _tables(workspace: Workspace, layer: str) -> list[str]:
    return [table for table in workspace.lake.tables(workspace.case.name) if table.split("/")[1] == layer]


def _interval(found: Interval) -> str:
    if found.value is None:
        return "undefined"
    bounds = "" if found.low is None else f" [{found.low:.3f}, {found.high:.3f}]"
    return f"{found.value:.3f}{bounds}"
