"""Scoring: each day is predicted by the champion of its clock; the rows of a range are held at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from include import feature_store, features, fingerprint, inputs, ledger, model_files, recalibration
from include.errors import ConfError
from include.lake import Input, Run
from include.training.model import LoadedModel
from include.workspace import Workspace

AS_OF_CLOCK, CURRENT = "as_of_clock", "current"


def stage(workspace: Workspace, first: str, last: str, model: str, run: Run) -> dict[str, str]:
    """Stage the predictions of ``first``..``last``; returns the stage's folder by table.

    ``model`` is ``as_of_clock``, ``current`` or a version number. Each row carries the key of what was
    scored, ``prediction``, ``model_version``, and ``features_version``: the fingerprint of the published
    rows that were read, so that equal inputs give equal rows.

    Raises:
        NoChampion: no promoted version may score one of the days.
        DigestMismatch: a model's files are not the registered ones.
        MissingPartitions: a feature partition is not published.
    """
    case = workspace.case
    keys = case.check_keys(first, last)
    versions = _versions(workspace, keys, str(model))
    wanted = inputs.wanted(workspace, "score", keys)
    for table, parts in wanted.items():
        workspace.lake.require(table, parts)
    read = inputs.read(workspace, wanted)
    seen = _features_versions(workspace, keys, read)
    rows = entity_rows(workspace, first, last, read)
    models = {version: load_version(workspace, version) for version in sorted(set(versions.values()))}
    states = recalibration.states(workspace, versions, models)
    notes = {"models": versions}

    def staged(name: str, found: pa.Table, order: tuple[str, ...]) -> dict[str, str]:
        table = case.table("predictions", name)
        return {table: workspace.lake.stage(table, found.to_reader(), keys, run, order, read, notes).path}

    scored = pa.concat_tables(_predict_days(workspace, rows, versions, models, states, seen))
    stages = staged("scores", scored, case.predictions.key)
    if states:
        found = recalibration.state_rows(states, versions)
        stages |= staged(recalibration.TABLE, found, ("model_version",))
    return stages


def load_version(workspace: Workspace, version: int) -> LoadedModel:
    """A registered model, its files verified by digest, from the local cache or from MLflow."""
    return model_files.load(workspace, version)


def model_folder(workspace: Workspace, version: int) -> Path:
    """The folder of a version's verified files."""
    return model_files.folder_of(workspace, version)


def entity_rows(workspace: Workspace, first: str, last: str, read: Mapping[str, Input] | None = None) -> pa.Table:
    """The rows to predict on ``first``..``last`` with their features as of each day's clock.

    Tables that ``read`` names are read at the version that it records, others as they are now.
    """
    case, recorded = workspace.case, read or {}
    keys = case.check_keys(first, last)
    with workspace.connect() as con:
        for name in case.partitioned_raw:
            table = case.table("raw", name)
            workspace.attach(con, name, table, keys, recorded[table].version if table in recorded else None)
        query = features.scoring_rows(con, case.assets_folder / "sql", first, last, case.time_zone)
        order = ", ".join(("ds", *case.predictions.key))
        rows = con.sql(f"SELECT * FROM ({query}) ORDER BY {order}").to_arrow_table()
    views = [case.table("features", view) for view in case.features.views]
    pinned = {workspace.lake.uri(table): recorded[table].version for table in views if table in recorded}
    store = feature_store.open_store(workspace.settings, case.name, pinned)
    return feature_store.historical_features(store, case.features.service, rows)


def _versions(workspace: Workspace, keys: tuple[str, ...], model: str) -> dict[str, int]:
    """The model version of each day."""
    if model == CURRENT:
        return dict.fromkeys(keys, ledger.current(workspace).version)
    if model == AS_OF_CLOCK:
        entries = ledger.promotions(workspace)
        return {key: ledger.champion_of(entries, key, workspace.case.name).version for key in keys}
    if model.isdigit():
        return dict.fromkeys(keys, int(model))
    raise ConfError(f'model "{model}" unknown; ask for as_of_clock, current or a version number')


def _features_versions(workspace: Workspace, keys: tuple[str, ...], read: Mapping[str, Input]) -> dict[str, str]:
    """What ``inputs.content_of`` says of each day, with each table opened once for all of them."""
    found = {table: workspace.lake.fingerprints(table, keys, value.version) for table, value in read.items()}
    return {
        key: fingerprint.combine(
            f"{table}={fingerprint.combine([f'{key}={found[table][key]}'])}" for table in sorted(found)
        )[:16]
        for key in keys
    }


def _predict_days(
    workspace: Workspace,
    rows: pa.Table,
    versions: Mapping[str, int],
    models: Mapping[int, LoadedModel],
    states: Mapping[str, recalibration.State],
    seen: Mapping[str, str],
) -> Iterator[pa.Table]:
    """The scored rows of each day, in order, shifted by the day's offset where it has one."""
    for key, version in versions.items():
        of_day = rows.filter(pc.equal(rows["ds"], key))
        predicted = models[version].predict(of_day, workspace.settings.threads)
        if key in states:
            predicted = recalibration.apply(predicted, states[key].offset)
        yield _scored(workspace, of_day, predicted, version, seen[key])


def _scored(workspace: Workspace, rows: pa.Table, predicted: NDArray[np.float64], version: int, seen: str) -> pa.Table:
    # the categorical columns come along: they are what predictions are sliced by later
    wanted = {"ds", *workspace.case.predictions.key, *workspace.case.training.categorical}
    count = rows.num_rows
    return (
        rows.select([name for name in rows.column_names if name in wanted])
        .append_column("prediction", pa.array(predicted, pa.float64()))
        .append_column("model_version", pa.array([version] * count, pa.int64()))
        .append_column("features_version", pa.array([seen] * count, pa.string()))
    )
