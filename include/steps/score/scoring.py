"""Scoring: each day is predicted by the champion of its clock.

A range is walked in runs of whole days, so that a year needs no more memory than its largest run. The versions
of all tables are fixed before the first run, and each run sees what it would have seen alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from include.core import partitions
from include.core.errors import ConfError
from include.feature_store import feature_sql
from include.lake import fingerprint
from include.lake.records import Attempt, Input, Record
from include.promotion import ledger
from include.registry import files
from include.steps import features, inputs
from include.steps.score import recalibration
from include.steps.workspace import Workspace, WorkspaceReader
from include.training.model import LoadedModel

AS_OF_CLOCK, CURRENT = "as_of_clock", "current"

OFFSETS = "offsets"
"""The note of a publish that says by how much the log odds of each day were shifted; see ``offset_of``."""

ROWS_AT_ONCE = 500_000
"""Rows of a range that are held with their features at once; a day that has more is held whole."""


def stage(workspace: Workspace, first: str, last: str, model: str, attempt: Attempt) -> dict[str, str]:
    """Stage the predictions of ``first``..``last``; returns the stage's folder by table.

    ``model`` is ``as_of_clock``, ``current`` or a version number. Each row carries the key of what was
    scored, ``prediction``, ``model_version``, and ``features_version``: the fingerprint of the published
    rows that were read, so that equal inputs give equal rows.

    Raises:
        NoChampion: no promoted version may score one of the days.
        DigestMismatch: a model's files are not the registered ones.
        MissingPartitions: a feature partition is not published.
    """
    case, now = workspace.case, workspace.at_one_moment()
    keys = case.check_keys(first, last)
    versions = _versions(now, keys, str(model))
    wanted = inputs.wanted(now, "score", keys)
    for table, parts in wanted.items():
        now.lake.require(table, parts)
    read = inputs.read(now, wanted)
    seen = _features_versions(now, keys, read)
    models = {version: load_version(now, version) for version in sorted(set(versions.values()))}
    learnt_from = recalibration.label_days(case, keys)
    states = recalibration.states(now, versions, models, read, _runs(now, learnt_from, read))
    notes: dict[str, Any] = {"models": versions}
    if states:
        notes[OFFSETS] = {key: state.offset for key, state in states.items()}

    def staged(name: str, found: pa.RecordBatchReader, order: tuple[str, ...]) -> dict[str, str]:
        table = case.table("predictions", name)
        return {table: workspace.lake.stage(table, found, keys, attempt, order, read, notes).path}

    def scored() -> Iterator[pa.Table]:
        for days in _runs(now, keys, read):
            # no name here holds the rows of a run: they are gone before those of the next are made
            yield from _predict_days(
                now,
                entity_rows(now, days[0], days[-1], read),
                {day: versions[day] for day in days},
                models,
                states,
                seen,
            )

    stages = staged("scores", _reader(scored()), case.predictions.key)
    if states:
        found = recalibration.state_rows(states, versions)
        stages |= staged(recalibration.TABLE, found.to_reader(), ("model_version",))
    return stages


def load_version(workspace: WorkspaceReader, version: int) -> LoadedModel:
    """A registered model, its files verified by digest, from the local cache or from MLflow."""
    return files.load(workspace.settings, workspace.case.name, version)


def model_folder(workspace: WorkspaceReader, version: int) -> Path:
    """The folder of a version's verified files."""
    return files.folder_of(workspace.settings, workspace.case.name, version)


def entity_rows(workspace: WorkspaceReader, first: str, last: str, read: Mapping[str, Input] | None = None) -> pa.Table:
    """The rows to predict on ``first``..``last`` with their features as of each day's clock.

    Tables that ``read`` names are read at the version that it records, others as they are now.
    """
    case, recorded = workspace.case, read or {}
    keys = case.check_keys(first, last)
    with workspace.connect() as con:
        query = _entities(workspace, con, keys, recorded)
        order = ", ".join(("ds", *case.predictions.key))
        rows = con.sql(f"SELECT * FROM ({query}) ORDER BY {order}").to_arrow_table()
    return features.look_up(workspace, rows, recorded)


def offset_of(record: Record) -> float:
    """By how much the published predictions of a day were shifted, in log odds.

    It stands in the record of the predictions themselves: that of ``predictions/recalibration`` may be of an
    earlier scoring of the day, which did shift where the newest did not.
    """
    return float(record.notes.get(OFFSETS, {}).get(record.key, 0.0))


def _entities(
    workspace: WorkspaceReader, con: duckdb.DuckDBPyConnection, keys: Sequence[str], recorded: Mapping[str, Input]
) -> str:
    """The query of the rows to predict on ``keys``, for ``con``."""
    case = workspace.case
    for name in case.partitioned_raw:
        table = case.table("raw", name)
        workspace.attach(con, name, table, keys, recorded[table].version if table in recorded else None)
    return feature_sql.scoring_rows(con, case.assets_folder / "sql", keys[0], keys[-1], case.time_zone)


def _runs(workspace: WorkspaceReader, keys: Sequence[str], read: Mapping[str, Input]) -> list[tuple[str, ...]]:
    """``keys`` in runs of days whose rows may be held at once."""
    if len(keys) < 2:
        return [tuple(keys)] if keys else []
    with workspace.connect() as con:
        query = _entities(workspace, con, keys, read)
        counted = dict(con.sql(f"SELECT ds, count(*) FROM ({query}) GROUP BY ds").fetchall())
    return partitions.runs({key: counted.get(key, 0) for key in keys}, ROWS_AT_ONCE)


def _reader(tables: Iterator[pa.Table]) -> pa.RecordBatchReader:
    """``tables``, which have the same columns, each made when the reader gets there."""
    first = next(tables)
    batches = (batch for table in chain([first], tables) for batch in table.to_batches())
    return pa.RecordBatchReader.from_batches(first.schema, batches)


def _versions(workspace: WorkspaceReader, keys: tuple[str, ...], model: str) -> dict[str, int]:
    """The model version of each day."""
    if model == CURRENT:
        return dict.fromkeys(keys, ledger.current(workspace.lake, workspace.case).version)
    if model == AS_OF_CLOCK:
        entries = ledger.promotions(workspace.lake, workspace.case)
        return {key: ledger.champion_of(entries, key, workspace.case.name).version for key in keys}
    if model.isdigit():
        return dict.fromkeys(keys, int(model))
    raise ConfError(f'model "{model}" unknown; ask for as_of_clock, current or a version number')


def _features_versions(workspace: WorkspaceReader, keys: tuple[str, ...], read: Mapping[str, Input]) -> dict[str, str]:
    """What ``inputs.content_of`` says of each day, with each table opened once for all of them."""
    found = {table: workspace.lake.fingerprints(table, keys, value.version) for table, value in read.items()}
    return {
        key: fingerprint.combine(
            f"{table}={fingerprint.combine([f'{key}={found[table][key]}'])}" for table in sorted(found)
        )[:16]
        for key in keys
    }


def _predict_days(
    workspace: WorkspaceReader,
    rows: pa.Table,
    versions: Mapping[str, int],
    models: Mapping[int, LoadedModel],
    states: Mapping[str, recalibration.State],
    seen: Mapping[str, str],
) -> Iterator[pa.Table]:
    """The scored rows of each day, in order, shifted by the day's offset where it has one."""
    days, begin = {}, 0
    for counted in pc.value_counts(rows["ds"]).to_pylist():  # rows are ordered by day
        days[counted["values"]] = rows.slice(begin, counted["counts"])
        begin += counted["counts"]
    for key, version in versions.items():
        of_day = days.get(key, rows.slice(0, 0))
        predicted = models[version].predict(of_day, workspace.settings.threads)
        if key in states:
            predicted = recalibration.apply(predicted, states[key].offset)
        yield _scored(workspace, of_day, predicted, version, seen[key])


def _scored(
    workspace: WorkspaceReader, rows: pa.Table, predicted: NDArray[np.float64], version: int, seen: str
) -> pa.Table:
    # the categorical columns come along: they are what predictions are sliced by later
    wanted = {"ds", *workspace.case.predictions.key, *workspace.case.training.categorical}
    count = rows.num_rows
    return (
        rows.select([name for name in rows.column_names if name in wanted])
        .append_column("prediction", pa.array(predicted, pa.float64()))
        .append_column("model_version", pa.array([version] * count, pa.int64()))
        .append_column("features_version", pa.array([seen] * count, pa.string()))
    )
