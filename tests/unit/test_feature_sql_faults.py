"""Faults of a use case's queries are found before a row is computed: by file, column and nearest name."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from include.core.errors import SpecError
from include.core.partitions import Span
from include.feature_store import feature_sql
from include.spec.use_case import UseCase
from tests.unit.flights_case import FLIGHTS, connection, land, source

DAY, AS_OF = "2013-01-02", "2013-01-04"


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with connection() as con:
        land(con, source(), DAY, AS_OF)
        yield con


@pytest.fixture
def case(tmp_path: Path) -> UseCase:
    """Return flights with a copy of its queries, for a test to break."""
    shutil.copytree(FLIGHTS.assets_folder / "sql", tmp_path / "sql")
    case = FLIGHTS.model_copy()
    case._assets_folder = tmp_path
    return case


def change(case: UseCase, query: str, before: str, after: str) -> None:
    path = case.assets_folder / "sql" / query
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after, 1), encoding="utf-8")


def labelled(con: duckdb.DuckDBPyConnection, case: UseCase) -> str:
    return feature_sql.training_rows(con, case, Span.one(DAY), AS_OF)


def test_a_further_column_of_the_labels_is_refused(con: duckdb.DuckDBPyConnection, case: UseCase) -> None:
    """A second outcome was learnt from, won every comparison, and was missing when the first day was scored."""
    change(case, "training/labels.sql", "o.known_at AS", "o.cancelled AS busy,\n    o.known_at AS")
    with pytest.raises(SpecError, match=r"labels\.sql gives the column 'busy', which is neither the label nor a key"):
        labelled(con, case)


def test_labels_join_within_their_partition(con: duckdb.DuckDBPyConnection, case: UseCase) -> None:
    """Keys that come again each day, such as a customer, must not meet the outcome of another day."""
    keys = ["carrier", "flight", "origin", "dest", "sched_dep_hour"]
    change(case, "training/labels.sql", "o.flight_date", "o.dest,\n    o.sched_dep_hour")
    training = case.training.model_copy(update={"keys": keys})
    repeating = case.model_copy(update={"training": training})
    repeating._assets_folder = case.assets_folder
    days = Span(first=DAY, last="2013-01-03")

    def count(asked: Span) -> int:
        query = feature_sql.training_rows(con, repeating, asked, AS_OF)
        rows: int = con.execute(f"SELECT count(*) FROM ({query})").fetchall()[0][0]
        return rows

    assert count(days) == sum(count(Span.one(key)) for key in days.keys)


def test_entities_that_give_the_label_are_refused(con: duckdb.DuckDBPyConnection, case: UseCase) -> None:
    change(case, "training/entities.sql", "s.distance,", "s.distance, 1 AS disrupted,")
    with pytest.raises(SpecError, match=r"entities\.sql gives the label 'disrupted'; only labels\.sql may"):
        feature_sql.scoring_rows(con, case, Span.one(DAY))


@pytest.mark.parametrize(
    ("query", "before", "after", "said"),
    [
        ("training/entities.sql", "s.dest,", "", r"entities\.sql gives no column 'dest'"),
        (
            "training/entities.sql",
            "s.carrier,",
            "s.carrier AS carier,",
            r"gives no column 'carrier'; did you mean \"carier\"",
        ),
        ("training/labels.sql", "p.ds,", "", r"labels\.sql gives no column 'ds'"),
        ("training/labels.sql", "AS disrupted", "AS disrupt", r"labels\.sql gives no column 'disrupted'"),
        ("training/labels.sql", "o.carrier", "o.carier", r"labels\.sql cannot run: .*carier"),
        ("training/labels.sql", "SELECT", "SELEKT", r"labels\.sql cannot run: .*syntax error"),
    ],
)
def test_a_query_that_cannot_serve_is_named(
    con: duckdb.DuckDBPyConnection, case: UseCase, query: str, before: str, after: str, said: str
) -> None:
    change(case, query, before, after)
    with pytest.raises(SpecError, match=said):
        labelled(con, case)


@pytest.mark.parametrize(
    ("query", "before", "after", "said"),
    [
        (
            "features/calendar.sql",
            "    a.origin,\n",
            "    a.origin AS airport,\n",
            r"calendar\.sql gives no column 'origin'",
        ),
        ("features/_recent_outcomes.sql", "FROM outcomes", "FROM outcome", r"_recent_outcomes\.sql cannot run"),
    ],
)
def test_a_feature_query_that_cannot_serve_is_named(
    con: duckdb.DuckDBPyConnection, case: UseCase, query: str, before: str, after: str, said: str
) -> None:
    change(case, query, before, after)
    with pytest.raises(SpecError, match=said):
        feature_sql.compute(con, case, Span.one(DAY))


def test_views_without_query_and_queries_without_view_are_named_together(case: UseCase) -> None:
    folder = case.assets_folder / "sql" / "features"
    (folder / "calendar.sql").rename(folder / "calender.sql")
    with pytest.raises(SpecError) as refused:
        feature_sql.views(case)
    assert "features.views.calendar of flights has no query" in str(refused.value)
    assert "calender.sql is no view of flights" in str(refused.value)


def test_a_comment_or_a_semicolon_at_the_end_harms_no_query(con: duckdb.DuckDBPyConnection, case: UseCase) -> None:
    path = case.assets_folder / "sql" / "training" / "entities.sql"
    path.write_text(path.read_text(encoding="utf-8").rstrip() + " -- every flight", encoding="utf-8")
    path = case.assets_folder / "sql" / "training" / "labels.sql"
    path.write_text(path.read_text(encoding="utf-8").rstrip() + ";\n", encoding="utf-8")
    assert con.execute(f"SELECT count(*) > 0 FROM ({labelled(con, case)})").fetchall() == [(True,)]
