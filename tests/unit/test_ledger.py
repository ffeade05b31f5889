"""The ledger knows the champion of every clock, and of two promotions that race one wins."""

from __future__ import annotations

import threading
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pytest

from include.core.errors import NoChampion, PromotionConflict
from include.lake.appending import append
from include.promotion import ledger
from include.promotion.ledger import Promotion
from include.steps.workspace import Workspace
from tests.unit import chain


def entry(number: int, version: int, trained_through: str, previous: int | None = None) -> Promotion:
    return Promotion(number, version, trained_through, previous, "auto", "{}")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(chain.settings_in(tmp_path), chain.autumn())


def test_before_the_first_promotion_there_is_no_champion(workspace: Workspace) -> None:
    assert ledger.promotions(workspace.lake, workspace.case) == []
    with pytest.raises(NoChampion, match="autumn has no champion yet; run autumn_train, then autumn_promote"):
        ledger.current(workspace.lake, workspace.case)
    with pytest.raises(NoChampion, match="autumn has no champion yet"):
        ledger.champion_of([], "2013-11-02", "autumn")


def test_entries_are_kept_in_order_and_the_newest_is_current(workspace: Workspace) -> None:
    entries = [entry(1, 4, "2013-10-31"), entry(2, 7, "2013-11-15", 4), entry(3, 5, "2013-11-07", 7)]
    for one in entries:
        ledger.record(workspace.lake, workspace.case, one, chain.attempt(f"promote {one.entry}"))
    assert ledger.promotions(workspace.lake, workspace.case) == entries
    assert ledger.current(workspace.lake, workspace.case) == entries[-1]


def test_a_ledger_from_before_signatures_is_read_and_goes_on(workspace: Workspace) -> None:
    old = [name for name in ledger.SCHEMA.names if name != "signed"]
    rows = pa.Table.from_pylist([asdict(entry(1, 4, "2013-10-31"))], schema=ledger.SCHEMA).select(old)
    append(workspace.lake, "autumn/ledger/promotions", rows, "2013-10-31", chain.attempt("old"), 0)
    assert ledger.promotions(workspace.lake, workspace.case) == [entry(1, 4, "2013-10-31")]
    signed = replace(entry(2, 4, "2013-10-31"), signed="A {}")
    ledger.record(workspace.lake, workspace.case, signed, chain.attempt("new"))
    found = ledger.promotions(workspace.lake, workspace.case)
    assert found == [entry(1, 4, "2013-10-31"), signed]
    assert ledger.entry_of(found, 4) == signed
    assert ledger.entry_of(found, 5) is None


@pytest.mark.parametrize(
    ("key", "version"),
    [
        ("2013-11-01", 4),  # the day after the last one that version 4 may know
        ("2013-11-07", 4),
        ("2013-11-08", 5),
        ("2013-11-30", 5),  # version 7 knows less than this day, but 5 was promoted after it
    ],
)
def test_the_champion_of_a_clock_is_the_latest_that_knows_nothing_of_the_day(key: str, version: int) -> None:
    entries = [entry(1, 4, "2013-10-31"), entry(2, 7, "2013-11-15", 4), entry(3, 5, "2013-11-07", 7)]
    assert ledger.champion_of(entries, key, "autumn").version == version


def test_a_day_that_every_champion_knows_has_none() -> None:
    with pytest.raises(NoChampion, match=r"no champion of 2013-10-31: .* up to 2013-10-31 or later; train one as of"):
        ledger.champion_of([entry(1, 4, "2013-10-31")], "2013-10-31", "autumn")


def test_a_promotion_decided_on_an_old_ledger_changes_nothing(workspace: Workspace) -> None:
    ledger.record(workspace.lake, workspace.case, entry(1, 4, "2013-10-31"), chain.attempt("first"))
    for number in (1, 3):
        with pytest.raises(PromotionConflict, match="written by another task meanwhile; nothing was changed"):
            ledger.record(workspace.lake, workspace.case, entry(number, 9, "2013-10-31"), chain.attempt("late"))
    assert [one.version for one in ledger.promotions(workspace.lake, workspace.case)] == [4]


@pytest.mark.parametrize("before", [0, 1])
def test_of_promotions_that_race_one_wins(workspace: Workspace, before: int) -> None:
    """Also for the very first entry, when the table itself is made by whoever comes first."""
    if before:
        ledger.record(workspace.lake, workspace.case, entry(1, 1, "2013-10-31"), chain.attempt("first"))
    start, outcomes = threading.Barrier(4), []

    def promote(version: int) -> None:
        start.wait()
        try:
            ledger.record(
                workspace.lake,
                workspace.case,
                entry(before + 1, version, "2013-10-31"),
                chain.attempt(f"promote {version}"),
            )
            outcomes.append(version)
        except PromotionConflict:
            outcomes.append(None)

    racers = [threading.Thread(target=promote, args=(version,)) for version in (10, 11, 12, 13)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    winners = [version for version in outcomes if version is not None]
    assert (len(outcomes), len(winners)) == (4, 1)
    assert [one.version for one in ledger.promotions(workspace.lake, workspace.case)][before:] == winners
