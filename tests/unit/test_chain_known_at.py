"""A run for D acts at the clock of D: what became known later changes nothing that it makes."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import pytest

from include.promotion import ledger
from include.steps.train import training_sets
from include.steps.workspace import Workspace
from tests.unit import chain

SPRING = ("2013-03-04", "2013-03-13")


@functools.cache
def spring() -> Workspace:
    """Publish the days around 2013-03-10, which has 23 hours; windows are cut off where history begins."""
    case = chain.use_case("spring", history={"first": SPRING[0], "last": SPRING[1]}, training=chain.TRAINING)
    workspace = Workspace(chain.settings_in(chain.temporary() / "spring"), case)
    chain.publish(workspace, chain.ingest.land(workspace, chain.span(*SPRING), chain.attempt()), chain.attempt())
    chain.compute_features(workspace, *SPRING, chain.attempt(dag="spring_features"))
    return workspace


def features_of(workspace: Workspace, key: str) -> dict[tuple[str, str], str]:
    found = chain.fingerprints(workspace.lake, key, workspace.case.name)
    return {name: value for name, value in found.items() if "/features/" in name[0]}


@pytest.mark.parametrize(
    ("lake", "key"),
    [
        (chain.landed, "2013-10-31"),
        (chain.landed, "2013-11-03"),
        (chain.landed, "2013-11-04"),
        (spring, "2013-03-10"),
        (spring, "2013-03-11"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_features_do_not_see_past_their_clock(lake: functools._lru_cache_wrapper, key: str, tmp_path: Path) -> None:
    whole = lake()
    known = chain.until(whole, tmp_path, key)
    chain.compute_features(known, key, key, chain.attempt(dag="features"))
    assert features_of(known, key) == features_of(whole, key)
    assert len(features_of(known, key)) == len(whole.case.features.views)


def test_the_test_above_can_fail(tmp_path: Path) -> None:
    key, before = "2013-11-04", "2013-11-03"
    known = chain.until(chain.landed(), tmp_path, before)
    for name in known.case.partitioned_raw:
        # the day's schedule is there, what became known in its last hours is not
        table = known.case.table("raw", name)
        rows = chain.landed().lake.dataset(table, [key]).to_table()
        kept = rows if name == "schedule" else rows.slice(0, 0)
        staged = known.lake.stage(table, kept.to_reader(), [key], chain.attempt("late"), known.case.raw[name].key)
        known.lake.publish(staged, chain.attempt("late"))
    chain.compute_features(known, key, key, chain.attempt(dag="features"))
    changed = {
        name for name, value in features_of(known, key).items() if features_of(chain.landed(), key)[name] != value
    }
    assert {"autumn/features/origin_history", "autumn/features/weather_latest"} <= {table for table, _ in changed}


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Make a lake as known at the clock of ``AS_OF``, with the features of all days that a training reads."""
    workspace = chain.until(chain.trained(), tmp_path_factory.mktemp("known"), chain.AS_OF)
    first = training_sets.label_days(workspace, chain.AS_OF).first
    chain.compute_features(workspace, first, chain.AS_OF, chain.attempt(dag="features"))
    return workspace


def test_a_training_set_is_made_of_what_its_clock_knew(known: Workspace) -> None:
    frozen = training_sets.freeze(known, chain.AS_OF, chain.attempt(dag="train"))
    table = frozen.table
    whole = chain.trained().lake.records(table)[chain.AS_OF]
    assert known.lake.records(table)[chain.AS_OF].fingerprint == whole.fingerprint
    assert frozen.rows == whole.rows > 5000


def test_predictions_are_made_of_what_their_clock_knew(known: Workspace) -> None:
    entry = replace(ledger.current(chain.trained().lake, chain.trained().case), entry=1)
    ledger.record(known.lake, known.case, entry, chain.attempt(dag="promote"))
    chain.score(known, chain.AS_OF, chain.AS_OF, chain.attempt(dag="score"))
    table = "autumn/predictions/scores"
    whole = chain.trained().lake.records(table, [chain.AS_OF])[chain.AS_OF]
    assert known.lake.records(table)[chain.AS_OF].fingerprint == whole.fingerprint
    assert whole.rows > 500
