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
from include.steps.workspace import WorkspaceReader

PARTS = "definitions"
"""Note in the record of a training set: digest by feature view, and of ``_ENTITIES`` and ``_LABELS``."""

_ENTITIES, _LABELS = "rows to predict", "labels"

_log = logging.getLogger(__name__)


def note_of_view(case: UseCase, view: str) -> dict[str, str]:
    """Return the note by which a publish of a feature view names the definition of its rows."""
    return {DEFINITION: query_digest.of_view(case, view)}


def notes_of_set(workspace: WorkspaceReader, days: Span) -> dict[str, Any]:
    """Return the notes of a training set over ``days``: the definitions of all that is in it.

    Raises:
        DefinitionChanged: partitions of one view were computed by different definitions.
    """
    case = workspace.case
    parts = {_ENTITIES: query_digest.of_entities(case), _LABELS: query_digest.of_labels(case)}
    faults = []
    for view in case.features.views:
        records = workspace.lake.records(case.table("features", view), days.keys)
        found = {key: record.notes.get(DEFINITION) for key, record in records.items()}
        newest = found.get(days.last)
        other = sorted(key for key, digest in found.items() if digest != newest)
        if other:
            faults.append(
                f"{case.name}: view {view}: {listed(other)} were computed by another definition than {days.last}; "
                f"compute them again: {_again(case, Span.of(other))}"
            )
        elif newest is not None:
            parts[view] = newest
            if newest != query_digest.of_view(case, view):
                _log.warning("%s: view %s has changed since its partitions were computed", case.name, view)
    if faults:
        raise DefinitionChanged("\n".join(faults))
    return {DEFINITION: query_digest.combined(parts), PARTS: parts}


def refuse_other_features(
    workspace: WorkspaceReader, versions: Mapping[int, Version], scored: Mapping[str, int]
) -> None:
    """Refuse to score partitions whose features were computed by another definition than the model learnt from.

    Args:
        workspace: reader of the lake.
        versions: the model versions that score, by number.
        scored: the number of the version that scores each partition.

    Raises:
        DefinitionChanged: names view, partitions, version, and the ways out.
    """
    case = workspace.case
    learnt = {number: _learnt(workspace, version) for number, version in versions.items()}
    digests = {
        view: {
            key: record.notes.get(DEFINITION)
            for key, record in workspace.lake.records(case.table("features", view), list(scored)).items()
        }
        for view in case.features.views
    }
    digests[_ENTITIES] = dict.fromkeys(scored, query_digest.of_entities(case))
    faults = []
    for part, by_key in digests.items():
        for number, known in learnt.items():
            right = {parts[part] for parts in known if part in parts}
            mine = {key: digest for key, digest in by_key.items() if scored[key] == number and digest is not None}
            other = sorted(key for key, digest in mine.items() if right and digest not in right)
            if other:
                faults.append(_refusal(case, part, other, number))
    if faults:
        raise DefinitionChanged("\n".join(faults))


def label_changed(workspace: WorkspaceReader, version: Version) -> bool:
    """Tell whether the label has another definition now than in the training set of ``version``."""
    right = {parts[_LABELS] for parts in _learnt(workspace, version) if _LABELS in parts}
    return bool(right) and query_digest.of_labels(workspace.case) not in right


def _learnt(workspace: WorkspaceReader, version: Version) -> list[dict[str, str]]:
    """Return the definitions under which the rows that ``version`` learnt from were ever published.

    Rows of equal content are equally right, whichever query gave them. The list is empty for a model whose training
    set was frozen before definitions were recorded, or is gone.
    """
    as_of, number = version.tags.get("as_of"), version.tags.get("training_set_version")
    if not as_of or not number:
        return []
    history = workspace.lake.history(workspace.case.training_table(as_of))
    mine = {record.fingerprint for record in history if record.version == int(number)}
    return [_parts(record) for record in history if record.fingerprint in mine]


def _parts(record: Record) -> dict[str, str]:
    return dict(record.notes.get(PARTS, {}))


def _refusal(case: UseCase, part: str, keys: Sequence[str], number: int) -> str:
    if part == _ENTITIES:
        return (
            f"{case.name}: entities.sql has changed since version {number} was trained, which scores {listed(keys)}. "
            f"Train again ({case.name}_train), or set the query back"
        )
    return (
        f"{case.name}: view {part} of {listed(keys)} was computed by another definition than version {number} learnt "
        f"from. Train again ({case.name}_train), or set the query back and compute these partitions again: "
        f"{_again(case, Span.of(keys))}"
    )


def _again(case: UseCase, span: Span) -> str:
    return (
        f"airflow backfill create --dag-id {case.name}_features --from-date {span.first} --to-date {span.last} "
        "--reprocess-behavior completed"
    )
