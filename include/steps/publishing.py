"""Audit stages and publish the audited ones: no rows become visible that have not passed their suite."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from include.core import fault_points, partitions
from include.core.errors import AuditFailed, StagePublished, StaleStage
from include.core.partitions import Span
from include.lake.records import Attempt, Input
from include.lake.staging import Stage
from include.quality.audit import AuditPlace
from include.quality.audit import audit as run_suite
from include.quality.relations import Rows
from include.quality.report import AuditReport
from include.sources.adapter import REFERENCE
from include.spec.suite import Suite
from include.steps import row_counts
from include.steps.handover import Published, Stages
from include.steps.suites import suites_of
from include.steps.workspace import Workspace

_log = logging.getLogger(__name__)


def audit(workspace: Workspace, stages: Stages, attempt: Attempt) -> None:
    """Run each stage's suite, and store the verdict beside the stage.

    Every stage is audited before the first failure is raised, so that one task shows all faults.

    Raises:
        AuditFailed: critical expectations failed; names them all, the stages and the data docs.
        AuditEngineError: an expectation could not be evaluated.
        SpecError: suites have faults.
        StagePublished: the rows were published already.
    """
    opened = {table: workspace.lake.open_stage(path) for table, path in stages.folders.items()}
    _refuse_published(opened)
    suites = suites_of(workspace, {_name(table) for table in opened if not _is_quarantine(table)})
    place = _place(workspace, attempt)
    faults = []
    with workspace.connect() as session:
        for table, stage in opened.items():
            fault_points.reached("audit.before_table", table)
            if _is_quarantine(table):
                stage.save_audit({"verdict": "not audited", "checked": 0, "failed": 0, "warned": 0, "docs": None})
                continue
            suite = suites[_name(table)]
            views = _views(workspace, suite, stage.keys, opened)
            report = run_suite(suite, stage.parquet(), stage.keys, place, views=views, connection=session)
            faults += _settled(table, stage, report)
    if faults:
        raise AuditFailed("\n".join(faults))


def _refuse_published(opened: Mapping[str, Stage]) -> None:
    """Refuse stages of which publishing has moved the rows away."""
    gone = [f"{table} ({stage.path})" for table, stage in opened.items() if not _has_rows(stage)]
    if gone:
        raise StagePublished(
            f"published already, so no rows are left to audit: {', '.join(gone)}. Nothing needs to be done. To load "
            "and audit the rows again, clear the task that stages them (`land` of an ingest) with all tasks after it; "
            "after a publish that did not finish, clear `publish`"
        )


def _has_rows(stage: Stage) -> bool:
    files = [f"{stage.path}/{part.file}" for part in stage.partitions.values() if part.rows]
    return all(info.is_file for info in stage.filesystem.get_file_info(files)) if files else True


def _is_quarantine(table: str) -> bool:
    return "/quarantine/" in table


def _name(table: str) -> str:
    return table.rsplit("/", 1)[1]


def _settled(table: str, stage: Stage, report: AuditReport) -> list[str]:
    """Store and log the verdict on a stage, and return its message if the audit failed."""
    stage.save_audit(_kept(report))
    _log.info("%s: %d rows, %d expectations, %s; %s", table, stage.rows, report.checked, report.verdict, report.docs)
    for warning in report.warnings:
        _log.warning("%s: %s", table, warning)
    try:
        report.raise_for_verdict(stage.path)
    except AuditFailed as fault:
        return [str(fault)]
    return []


def publish(workspace: Workspace, stages: Stages, attempt: Attempt) -> Published:
    """Publish every stage; return the span and, by table, how many partitions changed.

    Reference tables are published first, so that a reader who finds a day's rows also finds the rows that they
    refer to.

    Raises:
        AuditFailed: a stage has no passed audit.
        RowsRefused: the stages do not hold every row that the source delivered.
        StaleStage: a partition, or one that its rows were computed from, was published again meanwhile.
        LateAttempt, PublishConflict, SchemaMismatch: see ``Lake.publish``.
    """
    opened = {table: workspace.lake.open_stage(path) for table, path in stages.folders.items()}
    # check all verdicts before the first commit: a refused stage must not leave half of the tables published
    verdicts = {table: _passed(stage) for table, stage in opened.items()}
    row_counts.refuse_unbalanced(opened.values())
    _refuse_stale(workspace, opened.values())
    days: set[str] = set()
    changed: dict[str, int] = {}
    for table, stage in sorted(opened.items(), key=lambda item: REFERENCE not in item[1].keys):
        if changed:
            fault_points.reached("publish.between_tables", attempt.dag_id)
        verdict = verdicts[table]
        done = workspace.lake.publish(stage, attempt, report=verdict["docs"], notes={"audit": verdict})
        days |= set(stage.keys) - {REFERENCE}
        changed[table] = len(done.published)
        _log.info(
            "%s: version %d, %d partitions published, %d unchanged, %d rows",
            table, done.version, len(done.published), len(done.unchanged), done.rows,
        )  # fmt: skip
    fault_points.reached("publish.before_discard", attempt.dag_id)
    for stage in opened.values():
        workspace.lake.discard(stage)
    fault_points.reached("publish.before_return", attempt.dag_id)
    return Published(span=Span(first=min(days), last=max(days)), changed=changed)


def _refuse_stale(workspace: Workspace, stages: Iterable[Stage]) -> None:
    """Raise ``StaleStage`` unless the tables are as the stages found them: those that change, and those they read."""
    read: dict[str, Input] = {}
    for stage in stages:
        workspace.lake.refuse_stale(stage)
        read |= {table: Input(**value) for table, value in stage.inputs.items()}
    now = workspace.at_one_moment().lake
    for table, then in read.items():
        if now.version(table) == then.version:
            continue
        keys = [REFERENCE] if then.first == REFERENCE else partitions.key_range(then.first, then.last)
        if now.inputs(table, keys).fingerprint != then.fingerprint:
            raise StaleStage(
                f"{table}: {Span(first=then.first, last=then.last)} was published again after the rows that are to be "
                "published were computed from it. Nothing was published; clear the task that stages them"
            )


def _passed(stage: Stage) -> dict[str, Any]:
    verdict = stage.audit()
    if verdict is None or verdict["verdict"] == "failed":
        raise AuditFailed(f"{stage.table}: the stage {stage.path} has not passed an audit; run the audit task first")
    return verdict


def _place(workspace: Workspace, attempt: Attempt) -> AuditPlace:
    return AuditPlace(
        use_case=workspace.case.name,
        run=workspace.report_folder("data_docs", attempt).name,
        reports_root=workspace.settings.reports_root,
        threads=workspace.settings.threads,
        memory_limit=workspace.settings.memory_limit,
        first_partition=workspace.case.history.first,
    )


def _views(workspace: Workspace, suite: Suite, keys: Sequence[str], stages: Mapping[str, Stage]) -> dict[str, Rows]:
    """Return the other tables that a suite reads: this DAG run's stages where there are any, else as published.

    Of a published table with partitions only ``keys`` are read, so that a check finds the same rows however many
    partitions are loaded at once.
    """
    views: dict[str, Rows] = {}
    for name in suite.reads:
        table = workspace.case.table("raw", name)
        parts = None if name in workspace.case.reference_raw else list(keys)
        views[name] = stages[table].parquet() if table in stages else workspace.lake.dataset(table, parts)
    return views


def _kept(report: AuditReport) -> dict[str, Any]:
    return {
        "verdict": report.verdict,
        "checked": report.checked,
        "failed": len(report.failures),
        "warned": len(report.warnings),
        "not_passed": {key: verdict for key, verdict in report.verdicts.items() if verdict != "passed"},
        "warnings": [str(warning) for warning in report.warnings][:20],
        "docs": report.docs,
    }
