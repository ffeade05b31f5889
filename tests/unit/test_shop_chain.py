"""Every step for a use case that is unlike flights: another folder, key, task, label delay, and text beyond ASCII."""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow.compute as pc
import pytest

from include.core import partitions
from include.core.partitions import Span
from include.steps import features
from include.steps.score import predicting
from include.steps.train import rebuild, training_sets
from include.steps.workspace import Workspace
from tests.unit import shop_case as given

FIRST, AS_OF, LAST = given.FIRST, given.AS_OF, given.LAST
SHOPS = 6


@pytest.fixture(scope="module")
def there() -> Workspace:
    return given.chained()


def test_the_training_set_ends_a_label_delay_before_its_clock(there: Workspace) -> None:
    rows = training_sets.load(training_sets.freeze(there, AS_OF, given.attempt("train"))).table
    days = rows["day"].unique().to_pylist()
    assert (min(days), max(days)) == (partitions.shift(FIRST, 12), partitions.shift(AS_OF, -5))
    assert rows.num_rows == len(days) * SHOPS
    assert {"offer", "weekday", "sold_mean_7d", "sold_days_7d", "sold", "shop"} <= set(rows.column_names)


def test_predictions_know_the_offers_and_the_shops(there: Workspace) -> None:
    scores = there.lake.dataset("shop/predictions/scores").to_table()
    assert scores.num_rows == len(partitions.key_range(AS_OF, LAST)) * SHOPS
    assert set(scores["shop"].to_pylist()) >= {"Bäckerei", "Φούρνος", "L'Épi", 'the "old" mill', "Östra 5 % & co"}
    sold = there.lake.dataset("shop/raw/sales").to_table().select(["shop", "sold_on", "sold"]).to_pylist()
    known = {(row["shop"], row["sold_on"].isoformat()): row["sold"] for row in sold}
    errors = [
        abs(row["prediction"] - known[row["shop"], row["ds"]])
        for row in scores.to_pylist()
        if (row["shop"], row["ds"]) in known
    ]
    assert len(errors) > 40
    assert sum(errors) / len(errors) < 5


def test_the_monitor_judges_a_regression_when_its_outcomes_are_there(there: Workspace) -> None:
    rows = there.lake.dataset("shop/monitoring/verdicts", [LAST]).to_table()
    figures = {row["metric"]: row for row in rows.filter(pc.equal(rows["kind"], "quality")).to_pylist()}
    # the five newest days whose outcomes are complete: 8 to 12 May
    assert figures["mae"]["n"] == 5 * SHOPS
    assert math.isfinite(figures["mae"]["value"])
    # beside what the evidence promised, and beside the mean of the sales
    assert figures["mae"]["value"] < figures["mae"]["threshold"]
    assert figures["mae_minus_constant"]["value"] < 0
    assert not any(figure["violated"] for figure in figures.values())
    # the rows of the window's three days, each once: the key of a row comes again every day
    assert set(rows.filter(pc.not_equal(rows["kind"], "quality"))["n"].to_pylist()) == {3 * SHOPS}


def test_online_values_are_those_of_the_last_clock(there: Workspace) -> None:
    from include.feature_store import feast_store

    clock = partitions.clock(LAST, there.case.time_zone)
    asked = {"shop": ["Φούρνος", "nobody"]}
    found = feast_store.online_features(features.store(there), there.case.features.service, asked, clock).to_pylist()
    published = there.lake.dataset("shop/features/sold_lately", [LAST]).to_table().to_pylist()
    (mean,) = [row["sold_mean_7d"] for row in published if row["shop"] == "Φούρνος"]
    assert [row["sold_mean_7d"] for row in found] == [mean, None]


def test_scoring_again_publishes_nothing(there: Workspace) -> None:
    before = there.lake.version("shop/predictions/scores")
    again = predicting.stage(there, Span.one(LAST), predicting.AS_OF_CLOCK, given.attempt("score", "again"))
    given.audited(there, "score", again)
    assert there.lake.version("shop/predictions/scores") == before


def test_the_training_set_of_the_model_is_made_again(there: Workspace) -> None:
    assert rebuild.rebuild_of_model(there, 1)


def test_nothing_of_it_lies_in_the_repositorys_packages() -> None:
    case = given.shop()
    assert case.assets_folder == given.FOLDER / "shop"
    assert {path.name for path in Path(case.assets_folder).iterdir()} == {"shop.yaml", "source.py", "sql"}
