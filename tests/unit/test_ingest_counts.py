"""Every delivered row is published or quarantined, and counted on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.core.errors import LifecycleError, RowsRefused
from include.core.partitions import Span
from include.lake.records import Attempt
from include.steps import ingest, publishing
from include.steps.handover import Stages
from tests.unit.small_source import DAY, NEXT, small_workspace

BY = Attempt("flights", "flights_ingest", "r1")
ROWS = f"(VALUES ('{DAY}', 1), ('{DAY}', 2), ('{NEXT}', 3)) AS t (ds, id)"


def land(tmp_path: Path, rows: str, first: str = DAY, last: str = NEXT, rule: str | None = None) -> Stages:
    workspace = small_workspace(tmp_path, f"SELECT * FROM {rows}", rule)
    return ingest.land(workspace, Span(first=first, last=last), BY)


def test_a_row_without_a_partition_is_refused_and_counted(tmp_path: Path) -> None:
    """C20: rows with a null partition value do not vanish."""
    rows = f"(VALUES ('{DAY}', 1), (NULL, 2), ('{NEXT}', 3), (NULL, 4)) AS t (ds, id)"
    with pytest.raises(RowsRefused, match=r"flights/raw/tiny: 2 of 4 delivered rows have no partition.*\"id\":2"):
        land(tmp_path, rows)


def test_a_quarantine_rule_cannot_hide_a_row_without_a_partition(tmp_path: Path) -> None:
    """C20: the quarantine has partitions too."""
    with pytest.raises(RowsRefused, match="1 of 1 delivered rows have no partition"):
        land(tmp_path, "(VALUES (NULL::VARCHAR, 1)) AS t (ds, id)", rule="ds IS NULL")


def test_a_row_of_another_partition_is_refused_and_named(tmp_path: Path) -> None:
    """C20: rows outside of what was asked for are neither dropped nor published."""
    with pytest.raises(RowsRefused, match=f"flights/raw/tiny: {NEXT} \\(1 row\\) was not asked for"):
        land(tmp_path, ROWS, last=DAY)


def test_delivered_rows_are_published_or_quarantined(tmp_path: Path) -> None:
    """C20: delivered = published + quarantined, in the records too."""
    workspace = small_workspace(tmp_path, f"SELECT * FROM {ROWS}", "id = 2")
    stages = ingest.land(workspace, Span(first=DAY, last=NEXT), BY)
    publishing.audit(workspace, stages, BY)
    publishing.publish(workspace, stages, BY)
    record = workspace.lake.records("flights/raw/tiny")[DAY]
    assert (record.rows, record.notes["delivered"]) == (1, 3)
    assert workspace.lake.records("flights/quarantine/rows")[DAY].rows == 1


def test_rows_that_a_split_loses_are_noticed(tmp_path: Path) -> None:
    """C20: a quarantine rule that answers differently each time it runs loses rows between its two queries."""
    rows = f"(SELECT '{DAY}' AS ds, CAST(i AS INTEGER) AS id FROM range(1000) AS r (i))"
    with pytest.raises(RowsRefused, match=f"flights/raw/tiny: of 1000 rows delivered for {DAY}"):
        land(tmp_path, rows, last=DAY, rule="random() < 0.5")


def test_a_publish_without_the_quarantined_rows_is_refused(tmp_path: Path) -> None:
    """C20: the publish adds up as well."""
    workspace = small_workspace(tmp_path, f"SELECT * FROM {ROWS}", "id = 2")
    stages = ingest.land(workspace, Span(first=DAY, last=NEXT), BY)
    publishing.audit(workspace, stages, BY)
    alone = Stages(folders={table: path for table, path in stages.folders.items() if "/raw/" in table})
    with pytest.raises(LifecycleError, match=r"3 rows were delivered.*2 are staged and 0 quarantined"):
        publishing.publish(workspace, alone, BY)
    assert workspace.lake.version("flights/raw/tiny") is None
