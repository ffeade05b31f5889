"""Promotion: a challenger is registered, judged, proposed, and swapped in if nobody was quicker."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any, Literal

from mlflow import MlflowClient
from pydantic import BaseModel, ConfigDict

from include.accelerators import tracking, usage
from include.core import partitions
from include.core.errors import ConfError, LifecycleError, MissingPartitions, PromotionConflict
from include.lake.records import Attempt
from include.promotion import evidence_page, ledger
from include.registry import model_versions
from include.steps.promote import judgement, reproduction
from include.steps.train import model_card, search
from include.steps.workspace import Workspace
from include.training.study.storage import alone

_log = logging.getLogger(__name__)

AUTO = "auto"


class Proposal(BaseModel):
    """A change of the champion that may be made while the ledger has ``entries`` entries; plain JSON.

    Attributes:
        kind: ``promotion`` or ``rollback``.
        change: whether the champion should change; ``reason`` says why or why not.
        since: first partition of a rollback; None for a promotion.
        evidence: the verdict as JSON, for the ledger.
        body: the evidence as Markdown, for a person.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["promotion", "rollback"]
    version: int
    entries: int
    change: bool
    reason: str
    since: str | None = None
    evidence: str = "{}"
    body: str = ""


def register(workspace: Workspace, fitted: dict[str, Any], attempt: Attempt) -> dict[str, Any]:
    """Register a fitted model with its card and what its search used.

    A repetition finds the version that the first attempt made. Attempts that live at the same time take turns:
    MLflow has nothing that makes a version only if there is none with its key, and a second one that is deleted
    afterwards could have been promoted meanwhile. The turn is a lock in the study database, which all of them
    share, and ends with the process that holds it.
    """
    described = search.describe(workspace, fitted, attempt)
    card = model_card.write(workspace, described, workspace.report_folder("model_cards", attempt))
    uri = workspace.settings.mlflow_tracking_uri
    used = usage.total(tracking.recorded_in(uri, workspace.case.name, attempt.run_id))
    described = replace(
        described, metrics={**described.metrics, **used}, files={**described.files, model_card.FOLDER: card}
    )
    with alone(workspace.settings.optuna_storage, f"registration of {workspace.case.name}"):
        version = model_versions.register(uri, described)
    _log.info("%s version %d, digest %s; %s", workspace.case.name, version.number, version.digest[:12], card)
    return {"version": str(version.number), "trained_through": version.trained_through}


def decide(workspace: Workspace, version: str | None, attempt: Attempt) -> dict[str, Any]:
    """Judge a challenger and promote it if the verdict says so, in one step; see ``judge`` and ``promote``."""
    proposal = judge(workspace, version, attempt)
    if proposal.change:
        return promote(workspace, proposal, AUTO, attempt)
    return {"version": proposal.version, "promoted": False, "reason": proposal.reason}


def judge(workspace: Workspace, version: str | None, attempt: Attempt) -> Proposal:
    """Judge a challenger on its test days against the champion, on the same rows.

    Without ``version`` the newest registered one is judged. The champion itself, and a version that was
    rolled back, are not proposed. The evidence is also written to the reports, whatever it says.

    Raises:
        LifecycleError: the version does not exist.
        TrainingError: it does not reproduce its own predictions, or cannot be judged.
    """
    uri, case = workspace.settings.mlflow_tracking_uri, workspace.case
    number = int(version) if version else newest_version(workspace)
    entries = ledger.promotions(workspace.lake, workspace.case)
    champion = entries[-1].version if entries else None
    if champion == number:
        # the alias follows the ledger: a kill between the two is mended here
        model_versions.set_alias_champion(uri, case.name, number)
        return _no_change(number, entries, f"version {number} is the champion already")
    if number in ledger.withdrawn(entries):
        reason = f"version {number} was rolled back; only a rollback to {number} makes it champion again"
        return _no_change(number, entries, reason)
    found = model_versions.version_info(uri, case.name, number)
    judged = judgement.judge(workspace, found, champion)
    body = evidence_page.markdown(judged.verdict, judged.reproduced, _links(workspace, found))
    folder = workspace.report_folder("promotions", attempt)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"version-{number}.md").write_text(body, encoding="utf-8")
    _log.info("version %d: %s\n%s", number, judged.verdict.reason, body)
    return Proposal(
        kind="promotion",
        version=number,
        entries=len(entries),
        change=judged.verdict.promote,
        reason=judged.verdict.reason,
        evidence=judged.verdict.model_dump_json(),
        body=body,
    )


def judge_rollback(workspace: Workspace, to: str, since: str | None) -> Proposal:
    """Propose to return to ``to``, a version that was champion before, from the partition ``since`` on.

    Without ``since`` it is the partition after the newest one that was scored: what was predicted stays as
    it can be computed again. The version must still load and reproduce its predictions.

    Raises:
        ConfError: ``to`` never was champion, or is it now, or may not score ``since``.
        TrainingError: it does not reproduce its own predictions.
    """
    case = workspace.case
    entries, number = ledger.promotions(workspace.lake, workspace.case), int(to)
    former = [entry for entry in entries if entry.version == number]
    if not former:
        known = ", ".join(str(version) for version in dict.fromkeys(entry.version for entry in entries)) or "none yet"
        raise ConfError(f"{case.name}: version {number} never was champion; a rollback can return to: {known}")
    champion = entries[-1]
    if champion.version == number:
        raise ConfError(f"{case.name}: version {number} is the champion; there is nothing to roll back")
    first = since or _first_unscored(workspace) or former[-1].counts_from
    workspace.check_partition(first)
    if first <= former[-1].trained_through:
        raise ConfError(
            f"{case.name}: version {number} has learnt from days up to {former[-1].trained_through} and cannot "
            f"score from {first} on; roll back from a later partition"
        )
    reproduced = reproduction.reproduce(workspace, number)
    reason = f"back from version {champion.version} to version {number}, from {first} on"
    body = f"**Rollback** {reason}. A new process reproduced {reproduced.rows:,} of its stored predictions.\n"
    evidence = json.dumps({"rollback_from": champion.version, "reason": reason})
    return Proposal(
        kind="rollback",
        version=number,
        entries=len(entries),
        change=True,
        reason=reason,
        since=first,
        evidence=evidence,
        body=body,
    )


def promote(workspace: Workspace, proposal: Proposal, decided_by: str, attempt: Attempt) -> dict[str, Any]:
    """Make the proposed version champion, unless the ledger has changed since it was judged.

    Repeating it after it was recorded changes nothing.

    Raises:
        PromotionConflict: another change was recorded meanwhile; nothing changed.
    """
    uri, case = workspace.settings.mlflow_tracking_uri, workspace.case
    entries = ledger.promotions(workspace.lake, workspace.case)
    if not _recorded(entries, proposal):
        if len(entries) != proposal.entries:
            newer = entries[-1] if entries else None
            raise PromotionConflict(
                f"{case.name}: version {proposal.version} was judged against entry {proposal.entries} of the ledger, "
                f"meanwhile version {newer.version if newer else '?'} became champion; nothing was changed, judge again"
            )
        found = model_versions.version_info(uri, case.name, proposal.version)
        entry = ledger.Promotion(
            entry=len(entries) + 1,
            version=proposal.version,
            trained_through=found.trained_through,
            previous=entries[-1].version if entries else None,
            decided_by=decided_by,
            evidence=proposal.evidence,
            kind=proposal.kind,
            since=proposal.since,
        )
        ledger.record(workspace.lake, workspace.case, entry, attempt)
        _log.info("%s: version %d is champion from %s on", case.name, entry.version, entry.counts_from)
    model_versions.set_alias_champion(uri, case.name, proposal.version)
    return {"version": proposal.version, "promoted": True, "reason": proposal.reason}


def newest_version(workspace: Workspace) -> int:
    """The number of the version that was registered last.

    Raises:
        LifecycleError: none was.
    """
    name = workspace.case.name
    client = MlflowClient(workspace.settings.mlflow_tracking_uri)
    numbers = [int(found.version) for found in client.search_model_versions(f"name = '{name}'")]
    if not numbers:
        raise LifecycleError(f"{name} has no registered version; run {name}_train first")
    return max(numbers)


def _no_change(version: int, entries: list[ledger.Promotion], reason: str) -> Proposal:
    _log.info("%s", reason)
    return Proposal(kind="promotion", version=version, entries=len(entries), change=False, reason=reason)


def _recorded(entries: list[ledger.Promotion], proposal: Proposal) -> bool:
    """Whether the newest entry is the proposal's: an attempt that was killed had recorded it."""
    if len(entries) != proposal.entries + 1:
        return False
    newest = entries[-1]
    return (newest.version, newest.kind, newest.since, newest.evidence) == (
        proposal.version,
        proposal.kind,
        proposal.since,
        proposal.evidence,
    )


def _first_unscored(workspace: Workspace) -> str | None:
    try:
        newest = workspace.newest("predictions")
    except MissingPartitions:
        return None
    end = workspace.case.history.last
    return newest if newest == end else partitions.shift(newest, 1)


def _links(workspace: Workspace, found: model_versions.Version) -> list[tuple[str, str]]:
    """Where to read further: the model card and the version's run in MLflow."""
    uri = workspace.settings.mlflow_tracking_uri
    info = MlflowClient(uri).get_run(found.run_id).info
    if not uri.startswith("http"):
        return [("model card", f"{info.artifact_uri}/{model_card.FOLDER}/{model_card.HTML}")]
    run = f"{uri}/#/experiments/{info.experiment_id}/runs/{found.run_id}"
    return [("model card", f"{run}/artifacts/{model_card.FOLDER}/{model_card.HTML}"), ("run in MLflow", run)]
