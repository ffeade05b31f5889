"""The plan names what rests on something that has changed, why, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from include.core import partitions
from include.core.errors import DefinitionChanged
from include.core.partitions import Span
from include.steps.plan import __main__ as command
from include.steps.plan import planning, told
from include.steps.plan.planning import Plan
from include.steps.score import predicting
from include.steps.workspace import Workspace
from tests.unit import shop_case as given

FIRST, AS_OF, LAST = given.FIRST, given.AS_OF, given.LAST
QUERY = (given.FOLDER / "shop/sql/features/sold_lately.sql").read_text(encoding="utf-8")
SALES, FEATURES, SCORES = "shop/raw/sales", "shop/features/sold_lately", "shop/predictions/scores"
VERDICTS = "shop/monitoring/verdicts"


@pytest.fixture(scope="module")
def chained() -> Workspace:
    return given.chained()


def with_queries(there: Workspace, folder: Path, **queries: str) -> Workspace:
    """Return the same lake seen by the use case with other queries."""
    case = given.shop_with(folder, **queries)
    return Workspace(there.settings, case.model_copy(update={"history": there.case.history}))


def with_training(there: Workspace, **values: object) -> Workspace:
    training = there.case.training.model_copy(update=values)
    return Workspace(there.settings, there.case.model_copy(update={"training": training}))


def stale(found: Plan) -> dict[str, tuple[str, ...]]:
    """Return the stale spans by table."""
    return {one.table: tuple(map(str, one.spans)) for one in found.stale}


def correct(there: Workspace, key: str, by: float, name: str) -> None:
    """Publish the sales of a partition again, each higher by ``by``."""
    rows = there.lake.dataset(SALES, [key]).to_table()
    rows = rows.set_column(rows.column_names.index("sold"), "sold", pc.add(rows["sold"], pa.scalar(by)))
    attempt = given.attempt("ingest", name)
    stage = there.lake.stage(SALES, rows.to_reader(), [key], attempt, there.case.raw["sales"].key)
    assert there.lake.publish(stage, attempt).published == (key,)


def test_nothing_is_stale_after_the_chain(chained: Workspace) -> None:
    found = planning.make(chained)
    assert found.empty
    assert list(told.lines(found)) == ["shop: nothing is stale."]
    assert (found.champion, found.features, found.scores, found.train_as_of) == (1, (), (), None)


def test_comments_and_layout_make_nothing_stale(chained: Workspace, tmp_path: Path) -> None:
    said = QUERY.replace("GROUP BY ALL", "-- another word\nGROUP\n  BY ALL")
    assert planning.make(with_queries(chained, tmp_path, sold_lately=said)).empty


def test_a_changed_query_names_its_view_the_model_and_what_the_next_model_will_score(
    chained: Workspace, tmp_path: Path
) -> None:
    there = with_queries(chained, tmp_path, sold_lately=QUERY.replace("p.day - 7", "p.day - 6"))
    found = planning.make(there)
    assert stale(found) == {FEATURES: (f"{FIRST}..{LAST}",), SCORES: (LAST,), VERDICTS: (LAST,)}
    assert {one.reason for one in found.stale if one.table == FEATURES} == {"its query has changed"}
    assert found.model == ("sold_lately: its query has changed",)
    assert found.train_as_of == LAST
    # the champion of now cannot say them again
    assert (found.scores_now, found.verdicts_now) == ((), ())
    said = "\n".join(told.lines(found, ["bakery"]))
    assert f"features/sold_lately  {FIRST}..{LAST} (78): its query has changed" in said
    assert "version 1, the champion: sold_lately: its query has changed" in said
    features, train, score, monitor = (line.strip() for line in said.splitlines() if line.startswith("  airflow"))
    again = "--reprocess-behavior completed"
    assert features == (f"airflow backfill create --dag-id shop_features --from-date {FIRST} --to-date {LAST} {again}")
    assert train.startswith(f"airflow dags trigger shop_train --conf '{json.dumps({'as_of': LAST})}'")
    assert score == f"airflow backfill create --dag-id shop_score --from-date {LAST} --to-date {LAST} {again}"
    assert monitor.startswith("airflow backfill create --dag-id shop_monitor")
    assert said.endswith("It shares queries with bakery: make plan CASE=<name> says what is stale there.")
    assert found.seconds is not None
    assert planning.make(there).digest == found.digest


def test_a_changed_label_makes_the_model_stale_and_no_feature(chained: Workspace, tmp_path: Path) -> None:
    labels = (given.FOLDER / "shop/sql/training/labels.sql").read_text(encoding="utf-8")
    found = planning.make(with_queries(chained, tmp_path, labels=labels.replace("s.sold,", "s.sold * 2 AS sold,")))
    assert (found.stale, found.features) == ((), ())
    assert found.model == ("labels: their query has changed",)


def test_a_changed_setting_of_the_training_is_named(chained: Workspace) -> None:
    found = planning.make(with_training(chained, metric="rmse"))
    assert (found.stale, found.model) == ((), ("settings that have changed: training.metric",))
    # a larger budget, or more workers, decides nothing about the model that there is
    assert planning.make(with_training(chained, trials=99, workers=7, resamples=500)).empty


def test_a_corrected_row_names_the_partitions_that_look_back_on_it(chained: Workspace, tmp_path: Path) -> None:
    there, key = given.copied(chained, tmp_path), "2024-05-10"
    correct(there, key, 5.0, "corrected")
    found = planning.make(there)
    lookback = there.case.features.lookback_periods
    until = min(partitions.shift(key, lookback - 1), LAST)
    assert stale(found) == {FEATURES: (f"{key}..{until}",), SCORES: (f"{key}..{LAST}",), VERDICTS: (LAST,)}
    assert {one.reason for one in found.stale if one.table == FEATURES} == {
        f"raw/sales of {key} was published again with other rows"
    }
    assert [one.reason for one in found.stale if one.table == SCORES] == [
        f"features/sold_lately of {key}..{LAST} is stale"
    ]
    assert (found.scores_now, found.verdicts_now) == (found.scores, found.verdicts)
    # it was trained as of an earlier clock
    assert found.model == ()
    correct(there, key, -5.0, "set back")
    assert planning.make(there).empty


def test_a_correction_of_what_the_champion_learnt_from_does_not_keep_it_from_scoring(
    chained: Workspace, tmp_path: Path
) -> None:
    """The gates may refuse the next model for ever."""
    there = given.copied(chained, tmp_path)
    correct(there, "2024-04-20", 5.0, "corrected")
    correct(there, LAST, 5.0, "corrected too")
    found = planning.make(there)
    assert found.train_as_of == LAST
    assert any("raw/sales of 2024-04-20" in reason or "features/sold_lately" in reason for reason in found.model)
    assert found.scores_now == found.scores == (Span.one(LAST),)


def test_after_the_plan_nothing_is_stale(chained: Workspace, tmp_path: Path) -> None:
    """Scoring refuses until then; setting the query back first makes the plan empty too."""
    there = given.copied(chained, tmp_path)
    changed = with_queries(there, tmp_path, sold_lately=QUERY.replace("p.day - 7", "p.day - 6"))
    first = planning.make(changed)
    (span,) = first.features
    given.compute_features(changed, span, "again")
    with pytest.raises(DefinitionChanged, match="view sold_lately of 2024-05-17 was computed by another definition"):
        predicting.stage(changed, Span.one(LAST), predicting.AS_OF_CLOCK, given.attempt("score", "too early"))
    assert first.train_as_of is not None
    given.train_and_promote(changed, first.train_as_of, "again")
    for span in first.scores:
        given.score(changed, span, "again")
    for span in first.verdicts:
        given.judge(changed, span, "again")
    second = planning.make(changed)
    assert (second.champion, stale(second), second.model) == (2, {}, ())


def test_the_command_says_by_its_exit_status_whether_there_is_something_to_do(
    chained: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = [chained, with_queries(chained, tmp_path, sold_lately=QUERY.replace("p.day - 7", "p.day - 6"))]
    monkeypatch.setattr(Workspace, "open", lambda name: opened.pop(0))
    assert command.main(["--use-case", "shop"]) == command.NOTHING_TO_DO
    assert capsys.readouterr().out == "shop: nothing is stale.\n"
    assert command.main(["--use-case", "shop", "--json"]) == command.SOMETHING_TO_DO
    assert Plan.model_validate_json(capsys.readouterr().out).train_as_of == LAST
