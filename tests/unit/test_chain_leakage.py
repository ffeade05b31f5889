"""No column of the frozen training set knows the answer by itself."""

from __future__ import annotations

import pyarrow as pa
import pytest

from include.training.judging.leakage import Probe, probe
from include.training.training_set import open_training_set
from tests.unit import chain
from tests.unit.flights_case import connection, source


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    workspace = chain.trained()
    return open_training_set(workspace.lake.uri(chain.training_sets.tables_of_day(workspace, chain.AS_OF)[0])).table


def flagged(rows: pa.Table) -> list[Probe]:
    return [found for found in probe(rows, chain.autumn().training) if found.flagged]


def test_no_feature_and_no_missing_feature_settles_the_label(rows: pa.Table) -> None:
    found = probe(rows, chain.autumn().training)
    assert [one for one in found if one.flagged] == []
    assert len({one.feature for one in found}) > 150
    assert 0.55 < found[0].auc < 0.75


def test_a_copy_of_the_label_is_found(rows: pa.Table) -> None:
    leaky = rows.append_column("was_late", rows["disrupted"])
    assert [(one.feature, one.by) for one in flagged(leaky)] == [("was_late", "value")]


def test_the_aircraft_that_only_flights_that_fly_have_is_found() -> None:
    """The schedule has no tail number: were it joined from the outcomes, its absence would say "cancelled"."""
    with connection() as con:
        outcomes = source().deliver(con, "2013-02-01", "2013-02-20")["outcomes"]
        leaky = con.sql(
            f"""SELECT flight_date::VARCHAR AS day, flight_date, carrier, flight, origin, dest, sched_dep_hour,
            tailnum, disrupted::BIGINT AS disrupted FROM ({outcomes})"""
        ).to_arrow_table()
    settings = chain.autumn().training
    with_aircraft = settings.model_copy(update={"categorical": [*settings.categorical, "tailnum"]})
    found = [one for one in probe(leaky, with_aircraft) if one.flagged]
    assert [(one.feature, one.by) for one in found] == [("tailnum", "null")]
    assert found[0].rate == 1.0
