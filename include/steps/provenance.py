"""Compare the definitions of features and labels with those that a model was trained on.

Each publish of a feature view records the digest of the query that computed it (``query_digest``), and each training
set records those of the features, rows and labels in it. A model is right about features of the definition that it
learnt from. So the score step compares the two, and the monitor does not judge a model by a label that has another
meaning now.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from include.core.errors import DefinitionChanged
from include.core.partitions import Span
from include.feature_store import query_digest
from include.lake.reader import listed
from include.lake.records import DEFINITION, Record
from include.registry.model_versions import Version
from include.spec.use_case import UseCase
from include.steps import commands
from include.steps.workspace import WorkspaceReader

PARTS = "definitions"
"""Note in the record of a training set: digest by feature view, and of ``_ENTITIES`` and ``_LABELS``."""

_ENTITIES, _LABELS = "rows to predict", "labels"

_log = logging.getLogger(__name__)


def note_of_view(case: UseCase, view: str) -> dict[str, str]:
    """Return the note by which a publish of a feature view names the definition of its rows."""
    return {DEFINITION: query_digest.of_view(case, view)}


def notes_of_set(workspace: WorkspaceReader, days: Span) -> dict[str, Any]:
    """Return the notes of a training set over ``days``, all published: the definitions of all that is in it.

    Partitions that were published before definitions were recorded count as being of the definition of the others,
    unless they have other columns.

    Raises:
        DefinitionChanged: partitions of one view were computed by different definitions.
    """
    case = workspace.case
    parts = {_ENTITIES: query_digest.of_entities(case), _LABELS: query_digest.of_labels(case)}
    faults = []
    for view in case.features.views:
        records = workspace.lake.records(case.table("features", view), days.keys)
        found = {key: digest for key, record in records.items() if (digest := record.notes.get(DEFINITION)) is not None}
        if not found:
            continue
        last = max(found)
        other = [key for key, record in records.items() if _differs(record, records[last])]
        if other:
            again = commands.backfill_again(case.name, "features", Span.of(other))
            faults.append(
                f"{case.name}: view {view}: {listed(other)} were computed by another definition than {last}"
                f"{_lacking(records, other, last)}; compute them again: {again}"
            )
        parts[view] = found[last]
        if found[last] != query_digest.of_view(case, view):
            _log.warning("%s: view %s has changed since its partitions were computed", case.name, view)
    if faults:
        raise DefinitionChanged("\n".join(faults))
    return {DEFINITION: query_digest.combined(parts), PARTS: parts}


def refuse_other_features(
    workspace: WorkspaceReader, versions: Mapping[int, Version], seen: Mapping[int, Sequence[str]]
) -> None:
    """Refuse features that were computed by another definition than those that a model learnt from.

    Args:
        workspace: reader of the lake.
        versions: model versions, by number.
        seen: the partitions whose features each version predicts from.

    Raises:
        DefinitionChanged: names view, partitions, version, and the ways out.
    """
    case = workspace.case
    entities = query_digest.of_entities(case)
    faults = []
    for number, version in versions.items():
        taught = learnt(workspace, version)
        if entities not in (right := _of_part(taught, _ENTITIES)) and right:
            faults.append(
                f"{case.name}: entities.sql has changed since version {number} was trained. Train again "
                f"({case.name}_train), or set the query back"
            )
        for view in case.features.views:
            right, table = _of_part(taught, view), case.table("features", view)
            other = _other(workspace, table, workspace.lake.records(table, seen[number]), right) if right else []
            if other:
                faults.append(_refusal(case, view, other, number))
    if faults:
        raise DefinitionChanged("\n".join(faults))


def label_changed(workspace: WorkspaceReader, version: Version) -> bool:
    """Tell whether the label has another definition now than in the training set of ``version``."""
    right = _of_part(learnt(workspace, version), _LABELS)
    return bool(right) and query_digest.of_labels(workspace.case) not in right


def refuse_other_labels(workspace: WorkspaceReader, versions: Mapping[int, Version]) -> None:
    """Refuse to shift predictions by outcomes that have another definition than those that a model learnt from.

    Raises:
        DefinitionChanged: names the versions, and the ways out.
    """
    other = [number for number, version in versions.items() if label_changed(workspace, version)]
    if other:
        case = workspace.case.name
        raise DefinitionChanged(
            f"{case}: the label has changed since version {', '.join(map(str, other))} was trained, and "
            f"scoring.recalibration would shift its predictions by the new one. Train again ({case}_train), set the "
            "label back, or take the recalibration away"
        )


def changed_parts(workspace: WorkspaceReader, version: Version) -> list[str]:
    """Return what ``version`` learnt from and what has another definition today: views, rows to predict, labels.

    Empty for a model whose training set was frozen before definitions were recorded.
    """
    case, taught = workspace.case, learnt(workspace, version)
    now = {view: query_digest.of_view(case, view) for view in case.features.views}
    now |= {_ENTITIES: query_digest.of_entities(case), _LABELS: query_digest.of_labels(case)}
    right = {part: _of_part(taught, part) for part in now}
    return [part for part, digest in now.items() if right[part] and digest not in right[part]]


def stale_partitions(workspace: WorkspaceReader, view: str, records: Mapping[str, Record]) -> list[str]:
    """Return those partitions of a view's ``records`` whose rows were never computed by the definition of today."""
    right = {query_digest.of_view(workspace.case, view)}
    return _other(workspace, workspace.case.table("features", view), records, right)


def changed_queries(case: UseCase, record: Record) -> list[str]:
    """Return what a training set is made of by the use case itself and has changed since ``record``."""
    now = {_ENTITIES: query_digest.of_entities(case), _LABELS: query_digest.of_labels(case)}
    then = _parts(record)
    return [part for part, digest in now.items() if then.get(part, digest) != digest]


def _differs(record: Record, last: Record) -> bool:
    definition = record.notes.get(DEFINITION)
    return definition not in (None, last.notes[DEFINITION]) or set(record.added) != set(last.added)


def _lacking(records: Mapping[str, Record], other: Sequence[str], last: str) -> str:
    """Say which columns of the partition ``last`` each of ``other`` lacks; empty for none."""
    lacking = set(records[last].added).difference(*(records[key].added for key in other))
    return f" and lack {listed(sorted(lacking))}" if lacking else ""


def _other(workspace: WorkspaceReader, table: str, records: Mapping[str, Record], right: set[str]) -> list[str]:
    """Return those partitions of a view's ``records`` whose rows were never published under a definition of ``right``.

    Partitions that were published before definitions were recorded are left out.
    """
    other = {key for key, record in records.items() if record.notes.get(DEFINITION) not in (None, *right)}
    if not other:
        return []
    # rows of equal content are equally right, whichever query gave them
    for record in workspace.lake.history(table):
        if (
            record.key in other
            and record.notes.get(DEFINITION) in right
            and record.fingerprint == records[record.key].fingerprint
        ):
            other.discard(record.key)
    return sorted(other)


def _of_part(taught: Sequence[Mapping[str, str]], part: str) -> set[str]:
    return {parts[part] for parts in taught if part in parts}


def learnt(workspace: WorkspaceReader, version: Version) -> list[dict[str, str]]:
    """Return the definitions under which the rows that ``version`` learnt from were ever published.

    Rows of equal content are equally right, whichever query gave them. The list is empty for a model whose training
    set was frozen before definitions were recorded, or is gone.
    """
    as_of, number = version.tags.get("as_of"), version.tags.get("training_set_version")
    if not as_of or not number:
        return []
    # earlier releases froze all sets of a day in one table; the same rows may since have been frozen in their own
    case, content = workspace.case, version.tags.get("training_set_fingerprint", "")
    tables = dict.fromkeys((case.training_table(as_of, content), case.training_table(as_of)))
    history = {table: workspace.lake.history(table) for table in tables}
    for records in history.values():
        mine = {record.fingerprint for record in records if record.version == int(number)}
        if mine:
            every = (record for one in history.values() for record in one)
            return [_parts(record) for record in every if record.fingerprint in mine]
    return []


def _parts(record: Record) -> dict[str, str]:
    return dict(record.notes.get(PARTS, {}))


def _refusal(case: UseCase, view: str, keys: Sequence[str], number: int) -> str:
    again = commands.backfill_again(case.name, "features", Span.of(keys))
    return (
        f"{case.name}: view {view} of {listed(keys)} was computed by another definition than version {number} learnt "
        f"from. Train again ({case.name}_train), or set the query back and compute these partitions again: "
        f"{again}"
    )
