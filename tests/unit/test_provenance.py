"""A champion is not scored over features of another definition than it learnt from, and says so by name."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from include.core.errors import DefinitionChanged, MissingPartitions, TrainingError
from include.core.partitions import Span
from include.feature_store import query_digest
from include.lake.records import DEFINITION
from include.registry.model_versions import Version
from include.spec.use_case import UseCase
from include.steps import provenance
from include.steps.train import training_sets
from include.steps.workspace import Workspace
from tests.unit import shop_case as given

FIRST, AS_OF, LAST = "2024-03-01", "2024-04-02", "2024-04-06"
SPAN = Span(first="2024-03-13", last=LAST)
VIEW = (given.FOLDER / "shop/sql/features/sold_lately.sql").read_text(encoding="utf-8")
FEATURES = "shop/features/sold_lately"


def from_march(case: UseCase) -> UseCase:
    return case.model_copy(update={"history": case.history.model_copy(update={"first": FIRST})})


@pytest.fixture
def there(tmp_path: Path) -> Workspace:
    there = given.workspace(tmp_path / "lake", from_march(given.shop()))
    given.land(there, Span(first=FIRST, last=LAST))
    given.compute_features(there, SPAN)
    return there


def other(there: Workspace, folder: Path, before: str = "sum(", after: str = "10 * sum(") -> Workspace:
    """Return the same lake seen by the use case with another query."""
    return Workspace(there.settings, from_march(given.shop_with(folder, sold_lately=VIEW.replace(before, after))))


def trained(there: Workspace, name: str = "train") -> Version:
    """Freeze the training set, and return a version as if it had been trained on it."""
    frozen = training_sets.freeze(there, AS_OF, given.attempt("train", name))
    tags = {
        "as_of": AS_OF,
        "training_set_version": str(frozen.version),
        "training_set_fingerprint": frozen.fingerprint,
    }
    return Version("shop", 1, "0" * 64, "2024-04-01", "run", tags)


def refuse(there: Workspace, version: Version, *keys: str) -> None:
    provenance.refuse_other_features(there.at_one_moment(), {1: version}, {1: keys})


def test_a_changed_query_is_noticed_before_its_features_are_scored(there: Workspace, tmp_path: Path) -> None:
    """Seen before: a feature times 10, all green, and an error seven times as large."""
    version, changed = trained(there), other(there, tmp_path)
    given.compute_features(changed, Span.one(LAST), "changed")
    refuse(there, version, AS_OF, "2024-04-05")
    with pytest.raises(DefinitionChanged) as refused:
        refuse(changed, version, "2024-04-05", LAST)
    said = str(refused.value)
    assert f"view sold_lately of {LAST} was computed by another definition than version 1 learnt from" in said
    assert "2024-04-05" not in said
    assert f"airflow backfill create --dag-id shop_features --from-date {LAST} --to-date {LAST}" in said


def test_the_query_set_back_is_right_again(there: Workspace, tmp_path: Path) -> None:
    version = trained(there)
    given.compute_features(other(there, tmp_path), Span.one(LAST), "changed")
    given.compute_features(there, Span.one(LAST), "back")
    refuse(there, version, LAST)


def test_a_training_set_has_one_definition_of_each_view(there: Workspace, tmp_path: Path) -> None:
    changed = other(there, tmp_path)
    given.compute_features(changed, Span(first="2024-03-27", last=LAST), "changed")
    with pytest.raises(
        DefinitionChanged, match=r"view sold_lately: 2024-03-13, .* by another definition than 2024-03-28"
    ):
        trained(changed)
    given.compute_features(changed, SPAN, "all of it")
    refuse(changed, trained(changed), LAST)


def test_another_query_with_equal_rows_is_recorded_and_makes_nothing_stale(there: Workspace, tmp_path: Path) -> None:
    """Equal content is published again for its record only; a model that learnt from equal rows goes on."""
    version = trained(there)
    same = other(there, tmp_path, "count(*) AS sold_days_7d", "count(s.shop) AS sold_days_7d")
    before = {key: record.fingerprint for key, record in there.lake.records(FEATURES).items()}
    given.compute_features(same, SPAN, "rewritten")
    records = there.lake.records(FEATURES)
    assert {key: record.fingerprint for key, record in records.items()} == before
    assert {record.notes[DEFINITION] for record in records.values()} == {query_digest.of_view(same.case, "sold_lately")}
    refuse(same, version, LAST)
    refuse(same, trained(same, "again"), LAST)


def test_a_comment_publishes_nothing(there: Workspace, tmp_path: Path) -> None:
    version = there.lake.version(FEATURES)
    given.compute_features(other(there, tmp_path, "-- What", "-- Whatever"), SPAN, "commented")
    assert there.lake.version(FEATURES) == version


def test_rows_to_predict_of_another_query_are_refused(there: Workspace, tmp_path: Path) -> None:
    entities = (given.FOLDER / "shop/sql/training/entities.sql").read_text(encoding="utf-8")
    version = trained(there)
    case = given.shop_with(tmp_path, entities=entities.replace("s.offer", "1 - s.offer AS offer"))
    with pytest.raises(DefinitionChanged, match=r"entities\.sql has changed since version 1 was trained"):
        refuse(Workspace(there.settings, from_march(case)), version, LAST)


def test_a_label_of_another_definition_is_known_as_such(there: Workspace, tmp_path: Path) -> None:
    labels = (given.FOLDER / "shop/sql/training/labels.sql").read_text(encoding="utf-8")
    version = trained(there)
    assert not provenance.label_changed(there.at_one_moment(), version)
    case = given.shop_with(tmp_path, labels=labels.replace("s.sold,", "s.sold / 2 AS sold,"))
    assert provenance.label_changed(Workspace(there.settings, from_march(case)).at_one_moment(), version)


def test_a_model_from_before_definitions_were_recorded_goes_on(there: Workspace) -> None:
    refuse(there, Version("shop", 1, "0" * 64, "2024-04-01", "run", {}), LAST)


def test_partitions_from_before_definitions_were_recorded_count_as_of_the_others(there: Workspace) -> None:
    """An upgrade must not ask for all of history again before the next training."""
    rows = there.lake.dataset(FEATURES).to_table()
    keys = [key for key in SPAN.keys if key < "2024-03-27"]
    old = rows.filter(pc.is_in(rows["ds"], pa.array(keys))).set_column(
        rows.column_names.index("sold_days_7d"), "sold_days_7d", pa.array([6] * len(keys) * 6, pa.int64())
    )
    by = given.attempt("features", "before")
    staged = there.lake.stage(FEATURES, old.sort_by("ds").to_reader(), keys, by, ("shop",))
    there.lake.publish(staged, by)
    assert DEFINITION not in there.lake.records(FEATURES, keys)[keys[0]].notes
    refuse(there, trained(there), LAST)


def test_an_unpublished_partition_is_named_as_such(there: Workspace) -> None:
    with pytest.raises(MissingPartitions, match="shop/raw/plan: 2024-04-07"):
        training_sets.freeze(there, "2024-04-12", given.attempt("train", "early"))


def test_outcomes_of_another_definition_do_not_shift_predictions(there: Workspace, tmp_path: Path) -> None:
    labels = (given.FOLDER / "shop/sql/training/labels.sql").read_text(encoding="utf-8")
    version = trained(there)
    provenance.refuse_other_labels(there.at_one_moment(), {1: version})
    case = given.shop_with(tmp_path, labels=labels.replace("s.sold,", "s.sold / 2 AS sold,"))
    with pytest.raises(DefinitionChanged, match="the label has changed since version 1 was trained"):
        provenance.refuse_other_labels(Workspace(there.settings, from_march(case)).at_one_moment(), {1: version})


def test_a_rebuild_names_the_query_that_has_changed(there: Workspace, tmp_path: Path) -> None:
    labels = (given.FOLDER / "shop/sql/training/labels.sql").read_text(encoding="utf-8")
    table, version = training_sets.place_of(there, trained(there))
    case = given.shop_with(tmp_path, labels=labels.replace("s.sold,", "s.sold / 2 AS sold,"))
    with pytest.raises(TrainingError, match="the query of labels has changed"):
        training_sets.rebuild(Workspace(there.settings, from_march(case)), table, version)
