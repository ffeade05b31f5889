"""A lake that was copied, restored or moved is read at its new address, which Feast's registry does not know yet."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from feast import FileSource

from include.core.errors import LifecycleError
from include.steps import features
from include.steps.score import predicting
from include.steps.train import rebuild, training_sets
from include.steps.workspace import Workspace
from tests.unit import chain
from tests.unit.chain import AS_OF, LAST, attempt, span


@pytest.fixture
def old(tmp_path: Path) -> Workspace:
    found = chain.copy(chain.trained(), tmp_path / "old")
    features.apply_definitions(found)
    return found


@pytest.fixture
def new(old: Workspace, tmp_path: Path) -> Workspace:
    """Copy the lake and the database; the registry in the copy still names the old address."""
    copied = chain.copy(old, tmp_path / "new").settings
    # the models stay where they are registered
    uri = old.settings.mlflow_tracking_uri
    return Workspace(copied.model_copy(update={"mlflow_tracking_uri": uri}), old.case)


def garble(workspace: Workspace) -> None:
    """Overwrite each feature file, so that reading one fails."""
    files = list(Path(workspace.settings.lake_root).glob("autumn/features/**/*.parquet"))
    assert files
    for file in files:
        file.write_bytes(b"no Parquet")


def looked_up(workspace: Workspace) -> pa.Table:
    return predicting.entity_rows(workspace.at_one_moment(), span(LAST))


def scored(workspace: Workspace) -> pa.Table:
    chain.score(workspace, AS_OF, LAST, attempt("again", "autumn_score"))
    return chain.rows_of(workspace, "autumn/predictions/scores", LAST)


def test_scoring_reads_the_new_address(old: Workspace, new: Workspace) -> None:
    """The old lake may hold garbage, or be gone."""
    before = looked_up(old)
    garble(old)
    assert looked_up(new).equals(before)
    shutil.rmtree(old.settings.lake_root)
    assert scored(new).num_rows == before.num_rows


def test_scoring_does_not_read_the_old_address(old: Workspace, new: Workspace) -> None:
    """Garbage in the new lake is never answered from the old one."""
    garble(new)
    with pytest.raises(Exception, match=r"(?i)parquet"):
        looked_up(new)
    with pytest.raises(Exception, match=r"(?i)parquet"):
        scored(new)


def test_a_training_set_is_rebuilt_from_the_new_address(old: Workspace, new: Workspace) -> None:
    """Rebuilding does not apply definitions, and still reads the new lake."""
    (table,) = training_sets.tables_of_day(new, AS_OF)
    record = new.lake.records(table, [AS_OF])[AS_OF]
    garble(old)
    assert training_sets.rebuild(new, table, record.version) == record.fingerprint
    garble(new)
    with pytest.raises(Exception, match=r"(?i)parquet"):
        training_sets.rebuild(new, table, record.version)


def test_a_models_training_set_is_verified_at_the_new_address(new: Workspace) -> None:
    """The model's tag names the address of the lake in which it was trained."""
    assert rebuild.rebuild_of_model(new, 1)
    (frozen,) = Path(new.settings.lake_root).glob("autumn/training/*/ds=*/*.parquet")
    frozen.write_bytes(b"no Parquet")
    with pytest.raises(Exception, match=r"(?i)parquet|invalid"):
        rebuild.rebuild_of_model(new, 1)


def test_materializing_reads_the_new_address(old: Workspace, new: Workspace) -> None:
    garble(old)
    assert features.materialize(new, span(LAST)).views == len(new.case.features.views)
    garble(new)
    with pytest.raises(Exception, match=r"(?i)parquet"):
        features.materialize(new, span(LAST))


def test_a_lookup_registers_the_definitions_of_its_own_lake(old: Workspace, new: Workspace) -> None:
    looked_up(new)
    source = features.store(new).get_feature_view("autumn_calendar").batch_source
    assert isinstance(source, FileSource)
    assert source.path == new.lake.uri("autumn/features/calendar")


def test_two_lakes_with_one_registry_are_each_read_at_their_own_address(old: Workspace, new: Workspace) -> None:
    """The registry follows the reader, and a view at a foreign address is refused by the offline store."""
    shared = new.settings.model_copy(update={"feast_registry": old.settings.feast_registry})
    other = Workspace(shared, new.case)
    before = looked_up(old)
    garble(new)
    with pytest.raises(Exception, match=r"(?i)parquet"):
        looked_up(other)
    assert looked_up(old).equals(before)


def test_the_offline_store_reads_no_table_that_the_step_did_not_open(old: Workspace) -> None:
    """Another process may point the registry elsewhere after the step has registered its own addresses."""
    lookup = features.lookup(old.at_one_moment(), {})
    with pytest.raises(LifecycleError, match="autumn_calendar: Feast's registry names the table /elsewhere/calendar"):
        lookup.opened.config.offline_store.table("autumn_calendar", "/elsewhere/calendar")
