"""A query that looks ahead, or back beyond the look-back, publishes nothing: a span must give what its days give."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.core.errors import RowsRefused, SpanDependent
from include.core.partitions import Span
from include.steps import features, span_check
from include.steps.workspace import Workspace
from tests.unit import shop_case as given

SPAN = Span(first="2024-03-20", last="2024-04-10")
HONEST = (given.FOLDER / "shop/sql/features/sold_lately.sql").read_text(encoding="utf-8")
ENTITIES = (given.FOLDER / "shop/sql/training/entities.sql").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    there = given.workspace(tmp_path_factory.mktemp("shop"), given.shop())
    given.land(there, Span(first="2024-03-01", last=SPAN.last))
    return there


def changed(landed: Workspace, folder: Path, **queries: str) -> Workspace:
    """Return the lake seen by the use case with other queries."""
    return Workspace(landed.settings, given.shop_with(folder, **queries))


def features_of(landed: Workspace) -> dict[str, object]:
    table = landed.case.table("features", "sold_lately")
    return dict(landed.lake.records(table)) if landed.lake.version(table) is not None else {}


def staged(there: Workspace) -> list[Path]:
    return list(Path(there.settings.lake_root, "_stages", "shop", "features").rglob("*.parquet"))


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        pytest.param("s.ds <= p.ds AND", "", "reads partitions after the asked one", id="ahead"),
        pytest.param("s.ds <= p.ds", "s.ds <= strftime(p.day + 1, '%Y-%m-%d')", "after the asked one", id="tomorrow"),
        pytest.param("p.day - 7", "p.day - 15", "more than the 12 partitions of features.lookback_periods", id="back"),
    ],
)
def test_a_query_that_a_day_alone_cannot_answer_is_refused(
    landed: Workspace, tmp_path: Path, before: str, after: str, reason: str
) -> None:
    there, known = changed(landed, tmp_path, sold_lately=HONEST.replace(before, after)), features_of(landed)
    with pytest.raises(SpanDependent) as refused:
        given.compute_features(there, SPAN, "dishonest")
    said = str(refused.value)
    assert "view sold_lately of 2024-0" in said
    assert "column 'sold_mean_7d' differs in 6 of 6 rows: for shop " in said
    assert reason in said
    assert "sql/features/sold_lately.sql" in said
    assert features_of(landed) == known
    assert staged(there) == []


def test_an_honest_span_leaves_its_stage_where_the_test_above_looks(landed: Workspace) -> None:
    stages = features.stage(landed, Span(first="2024-03-20", last="2024-03-21"), given.attempt("features", "honest"))
    assert len(staged(landed)) == 2
    for path in stages.folders.values():
        landed.lake.discard(landed.lake.open_stage(path))
    assert staged(landed) == []


def test_rows_to_predict_that_look_ahead_are_refused(landed: Workspace, tmp_path: Path) -> None:
    """Entities give request features: the outcome of the day must not be among them."""
    ahead = ENTITIES.replace("s.weekday", "s.weekday, lead(s.offer) OVER (PARTITION BY s.shop ORDER BY s.ds) AS next")
    with pytest.raises(SpanDependent, match=r"entities\.sql of 2024-.*column 'next' differs .* the asked partition"):
        given.compute_features(changed(landed, tmp_path, entities=ahead), SPAN, "dishonest")


def test_rows_that_only_a_span_has_are_refused(landed: Workspace, tmp_path: Path) -> None:
    more = HONEST.replace("s.shop,", "s.shop || CASE WHEN s.ds > p.ds THEN '+' ELSE '' END AS shop,", 1).replace(
        "s.ds <= p.ds AND", ""
    )
    with pytest.raises(SpanDependent, match="6 rows exist only in the span or only alone"):
        given.compute_features(changed(landed, tmp_path, sold_lately=more), SPAN, "dishonest")


@pytest.mark.parametrize("value", ["p.clock + INTERVAL 1 HOUR", "NULL::TIMESTAMPTZ"])
def test_a_snapshot_of_another_instant_is_refused(landed: Workspace, tmp_path: Path, value: str) -> None:
    other = HONEST.replace("p.clock AS created_timestamp", f"any_value({value}) AS created_timestamp")
    with pytest.raises(RowsRefused, match=r"created_timestamp of 2024-03-20 is not 2024-03-19T22:00:00\.000Z in every"):
        given.compute_features(changed(landed, tmp_path, sold_lately=other), SPAN, "dishonest")


def test_rounding_is_no_difference(landed: Workspace, tmp_path: Path) -> None:
    """The last digits of a sum of floating-point numbers depend on the order of the rows."""
    noisy = HONEST.replace("/ count(*)", "/ count(*) * (1 + (random() - 0.5) * 1e-13)")
    assert given.compute_features(changed(landed, tmp_path, sold_lately=noisy), SPAN, "noisy").changed


def test_the_rounding_of_a_sum_that_cancels_is_no_difference(tmp_path: Path) -> None:
    """Near zero the order of additions makes a large relative difference; the column's size is the measure."""
    span = Span(first="2024-03-20", last="2024-03-23")
    fresh = given.workspace(tmp_path / "fresh", given.shop())
    given.land(fresh, Span(first="2024-03-01", last=span.last))
    centred = "sum(CASE WHEN s.shop = 'Φούρνος' THEN (random() - 0.5) * 1e-9 ELSE s.sold END) AS centred"
    noisy = HONEST.replace("count(*) AS sold_days_7d", centred)
    assert given.compute_features(changed(fresh, tmp_path, sold_lately=noisy), span, "centred").changed


def test_a_span_samples_what_has_partitions_on_both_sides() -> None:
    assert span_check.sampled(Span.one("2024-03-20")) == ()
    assert span_check.sampled(Span(first="2024-03-20", last="2024-03-21")) == ("2024-03-20",)
    sampled = span_check.sampled(SPAN)
    assert "2024-04-09" in sampled
    assert SPAN.last not in sampled
    assert span_check.sampled(SPAN) == sampled
