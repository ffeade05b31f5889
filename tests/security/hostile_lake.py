"""A whole chain whose source delivers scripts in place of carrier codes: raw tables, model, scores, reports."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import duckdb
import yaml
from mlflow import MlflowClient

from include.core.sql import literal, parquet
from include.monitoring.reference import read_reference
from include.spec.use_case import UseCase
from include.steps import features, monitor
from include.steps.promote import deciding
from include.steps.score import predicting
from include.steps.train import registering, search, training_sets
from include.steps.train.search import search_here
from include.steps.workspace import Workspace
from include.training.predictions import PREDICTION
from include.use_cases.flights import upstream
from tests.security.chromium import PLANTED
from tests.unit import chain
from tests.unit.flights_case import source_cache

RENAMED = dict(zip(("UA", "B6", "EV"), PLANTED, strict=True))
"""The three carriers with the most flights, and what they are called instead."""


def hostile_chain(folder: Path) -> Workspace:
    """Ingest, train, promote, score and monitor with the renamed carriers, in ``folder``."""
    there = Workspace(chain.settings_in(folder), _case(folder))
    _plant(Path(there.settings.source_cache))
    MlflowClient(there.settings.mlflow_tracking_uri).create_experiment("autumn", str(folder / "artifacts"))
    chain.land(there, chain.FIRST, chain.AS_OF, chain.attempt())
    chain.compute_features(there, chain.FIRST, chain.AS_OF, chain.attempt(dag="autumn_features"))
    features.apply_definitions(there)
    by = chain.attempt("train", "autumn_train")
    frozen = training_sets.freeze(there, chain.AS_OF, by)
    search_here(there, frozen)
    registering.register(there, search.fit(there, frozen, by), by)
    by = chain.attempt("promote", "autumn_promote")
    deciding.promote(there, deciding.propose(there, None, by), "auto", by)
    chain.score(there, chain.AS_OF, chain.AS_OF, chain.attempt("score", "autumn_score"))
    by = chain.attempt("monitor", "autumn_monitor")
    watching = Workspace(there.settings, _watching_carriers(there))
    chain.publish(watching, monitor.stage(watching, chain.span(chain.AS_OF), by), by)
    return there


def _watching_carriers(there: Workspace) -> UseCase:
    """Leave most numbers out of monitoring: the page shows few columns, and the carriers hardly drift."""
    profile = read_reference(predicting.model_folder(there, 1)).profile
    numbers = sorted(profile.numeric.keys() - {PREDICTION})
    drift = there.case.monitoring.drift.model_copy(update={"exclude": tuple(numbers[3:])})
    return there.case.model_copy(update={"monitoring": there.case.monitoring.model_copy(update={"drift": drift})})


def _case(folder: Path) -> UseCase:
    """Return the autumn with suites that accept every carrier: the suites of flights would stop it at the door."""
    case = chain.autumn()
    assets = folder / "assets"
    shutil.copytree(case.assets_folder, assets)
    for name in ("schedule", "airlines"):
        path = assets / "suites" / f"{name}.yaml"
        suite = yaml.safe_load(path.read_text(encoding="utf-8"))
        suite["expectations"] = [rule for rule in suite["expectations"] if not _is_code(rule["kwargs"])]
        path.write_text(yaml.safe_dump(suite), encoding="utf-8")
    case._assets_folder = assets
    return case


def _is_code(kwargs: dict[str, Any]) -> bool:
    return "regex" in kwargs and kwargs.get("column") == "carrier"


def _plant(cache: Path) -> None:
    """Rename the carriers in the source's files; the file of airlines stays as it is, so that audits warn."""
    real = upstream.unpacked(upstream.installed_data(), source_cache())
    cache.unlink()
    planted = cache / real.name
    shutil.copytree(real, planted)
    cases = [f"WHEN {literal(old)} THEN {literal(new)}" for old, new in RENAMED.items()]
    for table in ("schedule", "outcomes"):
        replace_values(planted / f"{table}.parquet", "carrier", f"CASE carrier {' '.join(cases)} ELSE carrier END")


def replace_values(path: Path, column: str, by: str) -> None:
    """Replace the values of one column of a Parquet file by what the SQL expression ``by`` gives."""
    with duckdb.connect(config={"threads": 1}) as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute(f"CREATE TABLE rows_of AS FROM {parquet([path])}")
        con.execute(f"UPDATE rows_of SET {column} = {by}")
        con.execute(f"COPY rows_of TO {literal(path)} (FORMAT parquet)")
