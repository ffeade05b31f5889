"""A training set is frozen once, named by its day and content, and can be made again from what it recorded."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc
import pytest

from include.core.errors import ConfError, MissingPartitions, TrainingError
from include.steps import provenance
from include.steps.score import predicting
from include.steps.train import rebuild, training_sets
from include.steps.workspace import Workspace
from tests.unit import chain


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return chain.copy(chain.trained(), tmp_path_factory.mktemp("sets"))


@pytest.fixture(scope="module")
def table(workspace: Workspace) -> str:
    (table,) = training_sets.tables_of_day(workspace, chain.AS_OF)
    return table


def test_a_set_holds_the_days_whose_look_back_and_labels_are_whole(workspace: Workspace, table: str) -> None:
    rows = chain.rows_of(workspace, table, chain.AS_OF)
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


def test_the_same_content_is_the_same_set(workspace: Workspace, table: str) -> None:
    frozen = training_sets.freeze(workspace, chain.AS_OF, chain.attempt("again", "autumn_train"))
    assert (frozen.as_of, frozen.table, frozen.version) == (chain.AS_OF, table, 1)
    assert frozen.trained_through == "2013-11-04"
    assert table == f"autumn/training/as_of_2013_11_05_{frozen.fingerprint[:12]}"
    assert workspace.lake.version(table) == 1
    opened = training_sets.load(frozen)
    assert (opened.table.num_rows, opened.version) == (frozen.rows, frozen.version)


def test_other_content_is_another_set_beside_it(tmp_path: Path) -> None:
    """A set of the same day, of a use case that has changed, leaves the first one to the models that name it."""
    workspace = chain.copy(chain.trained(), tmp_path)
    (first,) = training_sets.tables_of_day(workspace, chain.AS_OF)
    shorter = Workspace(workspace.settings, workspace.case.model_copy(update={"training_periods": 5}))
    other = training_sets.freeze(shorter, chain.AS_OF, chain.attempt("shorter", "autumn_train"))
    assert other.version == workspace.lake.version(first) == 1
    assert training_sets.tables_of_day(workspace, chain.AS_OF) == sorted([first, other.table])
    with pytest.raises(ConfError, match="have a version 1: give --content, the digits at the end of one"):
        rebuild.table_asked_for(workspace, chain.AS_OF, None, 1)
    assert rebuild.table_asked_for(workspace, chain.AS_OF, other.table[-12:], 1) == other.table


def test_a_set_of_an_earlier_release_is_found(tmp_path: Path) -> None:
    """Earlier releases named the table by the day alone, and each set was a version of it."""
    workspace = chain.copy(chain.trained(), tmp_path)
    (named,) = training_sets.tables_of_day(workspace, chain.AS_OF)
    earlier = workspace.case.training_table(chain.AS_OF)
    root = Path(workspace.settings.lake_root)
    (root / named).rename(root / earlier)
    found = predicting.model_version(workspace, 1)
    assert training_sets.place_of(workspace, found) == (earlier, 1)
    content = workspace.lake.records(earlier)[chain.AS_OF].fingerprint
    assert rebuild.rebuild_of_model(workspace, 1) == content
    learnt = provenance.learnt(workspace, found)
    # the same rows, frozen again by this release, have a table of their own, and the model keeps its set
    frozen = training_sets.freeze(workspace, chain.AS_OF, chain.attempt("again", "autumn_train"))
    assert frozen.table == named
    assert training_sets.tables_of_day(workspace, chain.AS_OF) == [earlier, named]
    assert rebuild.rebuild_of_model(workspace, 1) == content
    assert provenance.learnt(workspace, found) == [*learnt, *learnt]


def test_the_record_names_every_table_that_was_read(workspace: Workspace, table: str) -> None:
    record = workspace.lake.records(table)[chain.AS_OF]
    case = workspace.case
    wanted = {case.table("raw", name) for name in case.partitioned_raw}
    wanted |= {case.table("features", view) for view in case.features.views}
    assert set(record.inputs) == wanted


def test_a_rebuild_gives_the_recorded_rows(workspace: Workspace, table: str) -> None:
    record = workspace.lake.records(table)[chain.AS_OF]
    before = chain.versions(workspace.lake)
    assert training_sets.rebuild(workspace, table, record.version) == record.fingerprint
    assert chain.versions(workspace.lake) == before


def test_a_rebuild_by_other_code_is_noticed(workspace: Workspace, table: str) -> None:
    record = workspace.lake.records(table)[chain.AS_OF]
    fewer = Workspace(workspace.settings, workspace.case.model_copy(update={"training_periods": 5}))
    with pytest.raises(TrainingError, match=r"its inputs now give .*: the code that made it differs"):
        training_sets.rebuild(fewer, table, record.version)


def test_a_set_that_was_never_frozen(workspace: Workspace, table: str) -> None:
    with pytest.raises(TrainingError, match=f"{table} has no version 99"):
        training_sets.rebuild(workspace, table, 99)
    with pytest.raises(TrainingError, match=rf"no training set as of {chain.AS_OF} has version 99: {table}"):
        rebuild.table_asked_for(workspace, chain.AS_OF, None, 99)


def test_too_early_a_clock_is_refused_with_the_first_day(workspace: Workspace) -> None:
    with pytest.raises(TrainingError, match="whole look-backs begin on 2013-10-25; train as of a later day"):
        training_sets.freeze(workspace, "2013-10-20", chain.attempt("early", "autumn_train"))


def test_features_that_are_not_published_are_named(tmp_path: Path) -> None:
    workspace = chain.until(chain.landed(), tmp_path, chain.AS_OF)
    with pytest.raises(MissingPartitions, match="autumn/features/aircraft_lately: 2013-10-25"):
        training_sets.freeze(workspace, chain.AS_OF, chain.attempt("train", "autumn_train"))
    assert training_sets.tables_of_day(workspace, chain.AS_OF) == []
