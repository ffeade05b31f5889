"""A digest changes with what a query says, and not with how it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.feature_store import query_digest
from tests.unit import shop_case as given

VIEW = (given.FOLDER / "shop/sql/features/sold_lately.sql").read_text(encoding="utf-8")


def digest(folder: Path, text: str) -> str:
    return query_digest.of_view(given.shop_with(folder, sold_lately=text), "sold_lately")


@pytest.mark.parametrize(
    "text",
    [
        "-- another comment\n" + VIEW,
        VIEW.replace("\n", " \n\n  ").replace("-- What", "-- what"),
        VIEW.replace("SELECT", "select").replace("GROUP BY ALL", "Group  By all") + ";",
        VIEW.replace("count(*) AS", "count( * ) /* days */ AS"),
    ],
)
def test_comments_layout_and_case_do_not_count(tmp_path: Path, text: str) -> None:
    assert digest(tmp_path, text) == query_digest.of_view(given.shop(), "sold_lately")


@pytest.mark.parametrize(
    ("before", "after"), [("p.day - 7", "p.day - 8"), ("sold_days_7d", "sold_days"), ("s.ds <=", "s.ds <")]
)
def test_what_a_query_says_counts(tmp_path: Path, before: str, after: str) -> None:
    assert digest(tmp_path, VIEW.replace(before, after)) != query_digest.of_view(given.shop(), "sold_lately")


@pytest.mark.parametrize(("one", "other"), [("'a'", "'A'"), ('"a"', '"A"'), ("'a'", '"a"'), ("a", "'a'")])
def test_quoted_text_counts_as_it_is(tmp_path: Path, one: str, other: str) -> None:
    found = [digest(tmp_path / str(n), f"SELECT {text} AS x") for n, text in enumerate((one, other))]
    assert found[0] != found[1]


def test_an_intermediate_counts_for_the_views_that_read_it(tmp_path: Path) -> None:
    case = given.shop_with(tmp_path, sold_lately=VIEW.replace("sales AS s", "_kept AS s"))
    folder = case.assets_folder / "sql" / "features"
    found = []
    for text in ("SELECT * FROM _deeper", "SELECT * FROM _deeper WHERE sold > 0"):
        (folder / "_kept.sql").write_text(text, encoding="utf-8")
        for deeper in ("SELECT * FROM sales", "SELECT * FROM sales LIMIT 3"):
            (folder / "_deeper.sql").write_text(deeper, encoding="utf-8")
            found.append(query_digest.of_view(case, "sold_lately"))
    assert len(set(found)) == 4
    (folder / "_unread.sql").write_text("SELECT 1", encoding="utf-8")
    assert query_digest.of_view(case, "sold_lately") == found[-1]


@pytest.mark.parametrize("written", ['"_kept"', "_KEPT", '"_Kept"'])
def test_an_intermediate_is_found_however_its_name_is_written(tmp_path: Path, written: str) -> None:
    case = given.shop_with(tmp_path, sold_lately=VIEW.replace("sales AS s", f"{written} AS s"))
    found = []
    for text in ("SELECT * FROM sales", "SELECT * FROM sales WHERE sold > 0"):
        (case.assets_folder / "sql" / "features" / "_kept.sql").write_text(text, encoding="utf-8")
        found.append(query_digest.of_view(case, "sold_lately"))
    assert found[0] != found[1]


def test_values_of_the_spec_that_a_query_depends_on_count() -> None:
    case = given.shop()
    features = case.features.model_copy(update={"lookback_periods": 20})
    other = case.model_copy(update={"features": features})
    other._assets_folder = case.assets_folder
    assert query_digest.of_view(other, "sold_lately") != query_digest.of_view(case, "sold_lately")
    later = case.model_copy(update={"label_delay_periods": 6})
    later._assets_folder = case.assets_folder
    assert query_digest.of_labels(later) != query_digest.of_labels(case)
    assert query_digest.of_entities(later) == query_digest.of_entities(case)
