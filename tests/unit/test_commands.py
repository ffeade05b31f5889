"""Commands that errors and plans tell: Airflow takes them as they are, whatever the period."""

from __future__ import annotations

import pytest

from include.core import partitions
from include.core.partitions import Period, Span
from include.steps import commands


@pytest.mark.parametrize(
    ("period", "first", "last"),
    [
        (Period.HOUR, "2013-11-02T05:00:00", "2013-11-02T07:00:00"),
        (Period.DAY, "2013-11-02", "2013-11-04"),
        (Period.WEEK, "2013-10-28", "2013-11-11"),
        (Period.MONTH, "2013-11-01", "2014-01-01"),
    ],
)
def test_a_backfill_has_the_dates_on_which_its_first_and_last_partition_begin(
    period: Period, first: str, last: str
) -> None:
    span = Span(first=period.example, last=partitions.shift(period.example, 2))
    assert commands.backfill_again("shop", "features", span) == (
        f"airflow backfill create --dag-id shop_features --from-date {first} --to-date {last} "
        "--reprocess-behavior completed"
    )
