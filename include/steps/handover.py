"""The values that one task hands to the next: immutable, checked when they are read, plain JSON in an XCom."""

from __future__ import annotations

from typing import Literal

# operators know only steps: these two pass between tasks as they are
from include.accelerators.usage import Usage as Usage
from include.core.handover import Handover
from include.core.partitions import Span
from include.training.study.progress import Progress as Progress

# ---- ingest, features, score, monitor ---------------------------------------------------------------


class Stages(Handover):
    """The stages that one task wrote: the folder of each, by the name of its table."""

    folders: dict[str, str]


class Published(Handover):
    """The partitions that one task published, and by table how many of them have new content."""

    span: Span
    changed: dict[str, int]


class Materialized(Handover):
    """The partitions that one task brought online, for so many feature views."""

    span: Span
    views: int


# ---- train ------------------------------------------------------------------------------------------


class FrozenTrainingSet(Handover):
    """One version of a training set in the lake.

    Attributes:
        as_of: partition at whose clock the set was frozen.
        table, uri, version: name, address and Delta version of the table.
        rows: number of rows.
        trained_through: last day of which the rows may know anything.
        fingerprint: sha256 over the rows, which each reader checks.
    """

    as_of: str
    table: str
    uri: str
    version: int
    rows: int
    trained_through: str
    fingerprint: str


class WorkerDone(Handover):
    """The result of one worker: its usage, None if it recorded none, and the state of its study if it has one."""

    usage: Usage | None
    progress: Progress | None = None


class Fitted(Handover):
    """A fitted model: its folder, the sha256 over its files, and the training set that it was fitted on."""

    model_dir: str
    digest: str
    training_set: FrozenTrainingSet


class Registered(Handover):
    """A registered model version, and the last day of which its training set may know anything."""

    version: str
    trained_through: str


# ---- promote ----------------------------------------------------------------------------------------


class Proposal(Handover):
    """A change of the champion that may be made while the ledger has ``entries`` entries.

    Attributes:
        kind: ``promotion`` or ``rollback``.
        change: whether the champion should change; ``reason`` says why or why not.
        since: first partition of a rollback; None for a promotion.
        digest: SHA-256 over the files that were judged; None for a rollback, whose version the ledger names.
        evidence: the verdict as JSON, for the ledger.
        body: the evidence as Markdown, for a person.
    """

    kind: Literal["promotion", "rollback"]
    version: int
    entries: int
    change: bool
    reason: str
    since: str | None = None
    digest: str | None = None
    evidence: str = "{}"
    body: str = ""


class Promoted(Handover):
    """The model version that became champion, and why."""

    version: int
    reason: str
