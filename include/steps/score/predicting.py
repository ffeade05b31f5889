"""Predict each day with the champion of its clock.

A span is walked in chunks of rows: several days where they are small, a part of a day where it is large. So a year,
and a day that is larger than memory, need no more memory for features than one chunk. The versions of all tables are
fixed before the first chunk, so that each chunk sees what it would have seen alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from include.core import fault_points
from include.core.errors import ConfError
from include.core.partitions import Span
from include.feature_store import feature_sql
from include.lake import fingerprint
from include.lake.records import Attempt, Input, Record
from include.promotion import ledger
from include.registry import files
from include.registry.model_versions import Version
from include.steps import features, inputs, provenance
from include.steps.handover import Stages
from include.steps.score import recalibration, streaming
from include.steps.workspace import Workspace, WorkspaceReader
from include.training import predictions
from include.training.model import LoadedModel, load_model

AS_OF_CLOCK, CURRENT = "as_of_clock", "current"

OFFSETS = "offsets"
"""The note in a publish record with the offset of each day's log odds; see ``offset_of``."""


@dataclass(frozen=True)
class _Plan:
    """How each day is predicted: model version, the loaded models, offset, and the fingerprint of its features."""

    versions: Mapping[str, int]
    models: Mapping[int, LoadedModel]
    states: Mapping[str, recalibration.State]
    seen: Mapping[str, str]


def stage(workspace: Workspace, span: Span, model: str, attempt: Attempt) -> Stages:
    """Stage the predictions of ``span``.

    ``model`` is ``as_of_clock``, ``current`` or a version number. Each row carries the key of the predicted
    entity, ``prediction`` (of classes also ``probability`` and ``probabilities``: see ``training.predictions``),
    ``model_version``, and ``features_version``: the fingerprint of the published rows that were read, so that equal
    inputs give equal rows.

    Raises:
        NoChampion: no promoted version may score one of the days.
        SignatureRefused: a model is not signed by a trusted key, or is not the one that the ledger names.
        DigestMismatch: a model's files are not the signed ones.
        MissingPartitions: a feature partition is not published.
        DefinitionChanged: features were computed by another query than those that the model learnt from.
    """
    case, now = workspace.case, workspace.at_one_moment()
    keys = case.check_span(span).keys
    versions = _versions(now, keys, model)
    wanted = inputs.wanted(now, "score", span)
    for table, parts in wanted.items():
        now.lake.require(table, parts)
    read = inputs.read(now, wanted)
    learnt_from = recalibration.label_days(case, span)
    used = {version: model_version(now, version) for version in sorted(set(versions.values()))}
    days = () if learnt_from is None else learnt_from.keys
    seen = {number: sorted({*days, *(key for key in keys if versions[key] == number)}) for number in used}
    provenance.refuse_other_features(now, used, seen)
    if days:
        provenance.refuse_other_labels(now, used)
    models = {number: load_version(now, number) for number in used}
    runs = [] if learnt_from is None else streaming.runs(now, learnt_from, _entities(now, read))
    states = recalibration.states(now, versions, models, read, runs)
    plan = _Plan(versions, models, states, _features_versions(now, keys, read))
    notes: dict[str, Any] = {"models": versions}
    if states:
        notes[OFFSETS] = {key: state.offset for key, state in states.items()}

    def staged(name: str, found: pa.RecordBatchReader, order: tuple[str, ...]) -> dict[str, str]:
        table = case.table("predictions", name)
        return {table: workspace.lake.stage(table, found, keys, attempt, order, read, notes).path}

    folders = staged("scores", _reader(_predicted(now, span, read, plan)), case.predictions.key)
    if states:
        found = recalibration.state_rows(states, versions)
        folders |= staged(recalibration.TABLE, found.to_reader(), ("model_version",))
    return Stages(folders=folders)


def load_version(workspace: WorkspaceReader, version: int) -> LoadedModel:
    """Load a registered model from the local cache or from MLflow, verified like :func:`model_folder`."""
    return load_model(model_folder(workspace, version))


def model_folder(workspace: WorkspaceReader, version: int) -> Path:
    """Return the folder of a version's verified files; one that was promoted must be the one that the ledger names.

    Raises:
        SignatureRefused: a trusted key has not signed the version, or the ledger names another.
        DigestMismatch: the files do not have the signed digest.
    """
    return files.folder_of(workspace.settings, workspace.case.name, version, entry_of(workspace, version))


def model_version(workspace: WorkspaceReader, version: int) -> Version:
    """Return the record of a version in MLflow, verified like :func:`model_folder`."""
    return files.version_of(workspace.settings, workspace.case.name, version, entry_of(workspace, version))


def entry_of(workspace: WorkspaceReader, version: int) -> ledger.Promotion | None:
    """Return the ledger's entry that made ``version`` champion, if it ever was."""
    return ledger.entry_of(ledger.promotions(workspace.lake, workspace.case), version)


def entity_rows(workspace: WorkspaceReader, span: Span) -> pa.Table:
    """Return the rows to predict on ``span``, all in memory, with their features as of each day's clock."""
    case, read = workspace.case, dict[str, Input]()
    case.check_span(span)
    rows = pa.concat_tables(streaming.chunks(workspace, span, _entities(workspace, read), case.predictions.key))
    return features.lookup(workspace, read).add_to(rows)


def offset_of(record: Record) -> float:
    """Return the offset of the log odds of a day's published predictions.

    The offset is read from the record of the predictions themselves. The record of ``predictions/recalibration``
    may be of an earlier scoring of the day, which had an offset where the newest has none.
    """
    return float(record.notes.get(OFFSETS, {}).get(record.key, 0.0))


def _entities(workspace: WorkspaceReader, read: Mapping[str, Input]) -> streaming.Query:
    """Return the query of the rows to predict; tables are read at the versions of ``read``, where it has them."""

    def query(con: duckdb.DuckDBPyConnection, span: Span) -> str:
        case = workspace.case
        for name in case.partitioned_raw:
            table = case.table("raw", name)
            workspace.attach(con, name, table, span.keys, read[table].version if table in read else None)
        return feature_sql.scoring_rows(con, case, span)

    return query


def _reader(tables: Iterator[pa.Table]) -> pa.RecordBatchReader:
    """Turn ``tables``, which have the same columns, into a reader that makes each table when it gets there."""
    first = next(tables)
    batches = (batch for table in chain([first], tables) for batch in table.to_batches())
    return pa.RecordBatchReader.from_batches(first.schema, batches)


def _versions(workspace: WorkspaceReader, keys: tuple[str, ...], model: str) -> dict[str, int]:
    """Return the model version that predicts each day."""
    if model == CURRENT:
        return dict.fromkeys(keys, ledger.current(workspace.lake, workspace.case).version)
    if model == AS_OF_CLOCK:
        entries = ledger.promotions(workspace.lake, workspace.case)
        return {key: ledger.champion_of(entries, key, workspace.case.name).version for key in keys}
    if model.isdigit():
        return dict.fromkeys(keys, int(model))
    raise ConfError(f'model "{model}" unknown; ask for as_of_clock, current or a version number')


def _features_versions(workspace: WorkspaceReader, keys: tuple[str, ...], read: Mapping[str, Input]) -> dict[str, str]:
    """Return ``inputs.content_of`` of each day, with each table opened once for all of them."""
    found = {table: workspace.lake.fingerprints(table, keys, value.version) for table, value in read.items()}
    return {
        key: fingerprint.combine(
            f"{table}={fingerprint.combine([f'{key}={found[table][key]}'])}" for table in sorted(found)
        )[:16]
        for key in keys
    }


def _predicted(workspace: WorkspaceReader, span: Span, read: Mapping[str, Input], plan: _Plan) -> Iterator[pa.Table]:
    """Yield the predicted rows of ``span`` in order, a day or a part of a day at a time."""
    query, order = _entities(workspace, read), workspace.case.predictions.key
    lookup = features.lookup(workspace, read)
    for days in streaming.runs(workspace, span, query):
        for chunk in streaming.chunks(workspace, days, query, order):
            # do not bind the looked-up rows to a variable: they must be freed before the next chunk is made
            yield from _predict_days(workspace, lookup.add_to(chunk), days.first, plan)


def _predict_days(workspace: WorkspaceReader, rows: pa.Table, first: str, plan: _Plan) -> Iterator[pa.Table]:
    """Yield the predicted rows of each day in ``rows``, shifted by the day's offset where it has one.

    Without any rows there is one empty table, as of the day ``first``, for its columns.
    """
    begin = 0
    # rows are ordered by day
    counted = {one["values"]: one["counts"] for one in pc.value_counts(rows["ds"]).to_pylist()}
    for key, count in (counted or {first: 0}).items():
        of_day = rows.slice(begin, count)
        begin += count
        fault_points.reached("score.before_predict", key)
        version = plan.versions[key]
        predicted = plan.models[version].predict(of_day, workspace.settings.threads)
        if key in plan.states:
            predicted = recalibration.apply(predicted, plan.states[key].offset)
        published = predictions.columns(predicted, plan.models[version].manifest.classes)
        yield _scored(workspace, of_day, published, version, plan.seen[key])


def _scored(
    workspace: WorkspaceReader, rows: pa.Table, predicted: Mapping[str, pa.Array], version: int, seen: str
) -> pa.Table:
    # the categorical columns are kept: predictions are sliced by them later
    wanted = {"ds", *workspace.case.predictions.key, *workspace.case.training.categorical}
    count = rows.num_rows
    scored = rows.select([name for name in rows.column_names if name in wanted])
    for name, column in predicted.items():
        scored = scored.append_column(name, column)
    return scored.append_column("model_version", pa.array([version] * count, pa.int64())).append_column(
        "features_version", pa.array([seen] * count, pa.string())
    )
