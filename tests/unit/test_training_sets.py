"""A training set is frozen once, named by its clock, and can be made again from what it recorded."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc
import pytest

from include.core.errors import MissingPartitions, TrainingError
from include.steps.train import training_sets
from include.steps.workspace import Workspace
from tests.unit import chain

TABLE = "autumn/training/as_of_2013_11_05"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return chain.copy(chain.trained(), tmp_path_factory.mktemp("sets"))


def test_a_set_holds_the_days_whose_look_back_and_labels_are_whole(workspace: Workspace) -> None:
    rows = chain.rows_of(workspace, TABLE, chain.AS_OF)
    assert training_sets.label_days(workspace, chain.AS_OF) == chain.span("2013-10-25", "2013-11-03")
    assert sorted(rows["day"].unique().to_pylist()) == [f"2013-10-{d}" for d in range(25, 32)] + [
        f"2013-11-0{d}" for d in range(1, 4)
    ]
    assert rows["disrupted"].null_count == 0
    clock = training_sets.partitions.clock(chain.AS_OF, workspace.case.time_zone)
    assert pc.max(rows["label_known_at"]).as_py() < clock


def test_training_days_counts_back_from_the_last(workspace: Workspace) -> None:
    shorter = Workspace(workspace.settings, workspace.case.model_copy(update={"training_periods": 5}))
    assert training_sets.label_days(shorter, chain.AS_OF) == chain.span("2013-10-30", "2013-11-03")


def test_what_freeze_returns_opens_the_set(workspace: Workspace) -> None:
    frozen = training_sets.freeze(workspace, chain.AS_OF, chain.attempt("again", "autumn_train"))
    assert (frozen.as_of, frozen.table, frozen.trained_through) == (chain.AS_OF, TABLE, "2013-11-04")
    opened = training_sets.load(frozen)
    assert (opened.table.num_rows, opened.version) == (frozen.rows, frozen.version)


def test_the_record_names_every_table_that_was_read(workspace: Workspace) -> None:
    record = workspace.lake.records(TABLE)[chain.AS_OF]
    case = workspace.case
    wanted = {case.table("raw", name) for name in case.partitioned_raw}
    wanted |= {case.table("features", view) for view in case.features.views}
    assert set(record.inputs) == wanted


def test_a_rebuild_gives_the_recorded_rows(workspace: Workspace) -> None:
    record = workspace.lake.records(TABLE)[chain.AS_OF]
    before = chain.versions(workspace.lake)
    assert training_sets.rebuild(workspace, chain.AS_OF, record.version) == record.fingerprint
    assert chain.versions(workspace.lake) == before


def test_a_rebuild_by_other_code_is_noticed(workspace: Workspace) -> None:
    record = workspace.lake.records(TABLE)[chain.AS_OF]
    fewer = Workspace(workspace.settings, workspace.case.model_copy(update={"training_periods": 5}))
    with pytest.raises(TrainingError, match=r"its inputs now give .*: the code that made it differs"):
        training_sets.rebuild(fewer, chain.AS_OF, record.version)


def test_a_set_that_was_never_frozen(workspace: Workspace) -> None:
    with pytest.raises(TrainingError, match="as_of_2013_11_05 has no version 99"):
        training_sets.rebuild(workspace, chain.AS_OF, 99)


def test_too_early_a_clock_is_refused_with_the_first_day(workspace: Workspace) -> None:
    with pytest.raises(TrainingError, match="whole look-backs begin on 2013-10-25; train as of a later day"):
        training_sets.freeze(workspace, "2013-10-20", chain.attempt("early", "autumn_train"))


def test_features_that_are_not_published_are_named(tmp_path: Path) -> None:
    workspace = chain.until(chain.landed(), tmp_path, chain.AS_OF)
    with pytest.raises(MissingPartitions, match="autumn/features/aircraft_lately: 2013-10-25"):
        training_sets.freeze(workspace, chain.AS_OF, chain.attempt("train", "autumn_train"))
    assert workspace.lake.version(TABLE) is None
