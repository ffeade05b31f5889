"""Propose a new champion with the evidence for it, and swap it in if the ledger has not changed meanwhile."""

from __future__ import annotations

import json
import logging

from mlflow import MlflowClient

from include.accelerators import tracking
from include.core import fault_points, partitions
from include.core.errors import ConfError, MissingPartitions, PromotionConflict, SignatureRefused
from include.lake.records import Attempt
from include.promotion import evidence_page, ledger
from include.registry import keys, model_versions
from include.registry.artifacts import CARD_FOLDER, CARD_HTML
from include.registry.signatures import SIGNED
from include.steps.handover import Promoted, Proposal
from include.steps.promote import comparing, reproducing
from include.steps.score import predicting
from include.steps.workspace import Workspace

_log = logging.getLogger(__name__)


def propose(workspace: Workspace, version: str | None, attempt: Attempt) -> Proposal:
    """Compare a challenger with the champion on the rows of its test window, and propose it if it is better.

    Without ``version`` the newest registered version is judged. The champion itself, and a version that was
    rolled back, are not proposed. The evidence is also written to the reports, for a yes and for a no.

    Raises:
        LifecycleError: the version does not exist.
        SignatureRefused: it is not signed by a trusted key, or is not the one that the ledger names.
        TrainingError: the version does not reproduce its own predictions, or cannot be judged.
    """
    uri, case = workspace.settings.mlflow_tracking_uri, workspace.case
    number = int(version) if version else model_versions.newest(uri, case.name, keys.trusted(workspace.settings))
    # first: under this number MLflow may have another model than the one that the ledger knows
    found = predicting.model_version(workspace, number)
    entries = ledger.promotions(workspace.lake, workspace.case)
    champion = entries[-1].version if entries else None
    if champion == number:
        # the alias follows the ledger: this repairs an alias that a killed attempt did not set
        model_versions.set_alias_champion(uri, case.name, number)
        return _no_change(number, entries, f"version {number} is the champion already")
    if number in ledger.withdrawn(entries):
        reason = f"version {number} was rolled back; only a rollback to {number} makes it champion again"
        return _no_change(number, entries, reason)
    judged = comparing.compare(workspace, found, champion)
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
        digest=found.digest,
        evidence=judged.verdict.model_dump_json(),
        body=body,
    )


def propose_rollback(workspace: Workspace, to: str, since: str | None) -> Proposal:
    """Propose to return to ``to``, a version that was champion before, from the partition ``since`` on.

    Without ``since`` the rollback counts from the partition after the newest scored one, so that published
    predictions stay those that scoring again would give. The version must still load and reproduce its
    predictions.

    Raises:
        ConfError: ``to`` never was champion, is champion now, or may not score ``since``.
        TrainingError: the version does not reproduce its own predictions.
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
    reproduced = reproducing.reproduce(workspace, number)
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


def promote(workspace: Workspace, proposal: Proposal, decided_by: str, attempt: Attempt) -> Promoted:
    """Make the proposed version champion, unless the ledger has changed since the version was judged.

    A repetition after the change was recorded changes nothing.

    Raises:
        PromotionConflict: another change was recorded meanwhile; nothing changed.
        SignatureRefused: the version is not signed by a trusted key, or not the one that was judged.
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
        found = predicting.model_version(workspace, proposal.version)
        if proposal.digest not in (None, found.digest):
            raise SignatureRefused(
                f"{case.name} version {proposal.version} has digest {found.digest[:12]}, judged was "
                f"{str(proposal.digest)[:12]}: it was replaced in MLflow meanwhile; nothing was changed, judge again"
            )
        entry = ledger.Promotion(
            entry=len(entries) + 1,
            version=proposal.version,
            trained_through=found.trained_through,
            previous=entries[-1].version if entries else None,
            decided_by=decided_by,
            evidence=proposal.evidence,
            kind=proposal.kind,
            since=proposal.since,
            signed=found.tags[SIGNED],
        )
        ledger.record(workspace.lake, workspace.case, entry, attempt)
        _log.info("%s: version %d is champion from %s on", case.name, entry.version, entry.counts_from)
    fault_points.reached("promote.before_alias", case.name)
    model_versions.set_alias_champion(uri, case.name, proposal.version)
    return Promoted(version=proposal.version, reason=proposal.reason)


def _no_change(version: int, entries: list[ledger.Promotion], reason: str) -> Proposal:
    _log.info("%s", reason)
    return Proposal(kind="promotion", version=version, entries=len(entries), change=False, reason=reason)


def _recorded(entries: list[ledger.Promotion], proposal: Proposal) -> bool:
    """Return whether the newest entry is the proposal's: an attempt that was killed had recorded it."""
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
    """Return titles and addresses of the model card and of the version's run in MLflow."""
    uri = workspace.settings.mlflow_tracking_uri
    info = MlflowClient(uri).get_run(found.run_id).info
    page = tracking.TrackedRun(uri, info.experiment_id, found.run_id).url
    if not page:
        return [("model card", f"{info.artifact_uri}/{CARD_FOLDER}/{CARD_HTML}")]
    return [("model card", f"{page}/artifacts/{CARD_FOLDER}/{CARD_HTML}"), ("run in MLflow", page)]
