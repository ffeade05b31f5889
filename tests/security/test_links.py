"""Symbolic links in the lake and among the reports: nothing outside is read as ours, changed or deleted."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest

from include.core.errors import LinkInLake
from include.core.files import replace_text
from include.lake.records import Attempt
from include.steps import maintenance, verify
from include.steps.workspace import Workspace
from tests.unit.small_source import DAY, NEXT, small_workspace

TABLE, TRAINING = "flights/raw/tiny", "flights/training/as_of"
BY = Attempt("flights", "flights_ingest", "r1")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = small_workspace(tmp_path, "SELECT 1")
    rows = pa.table({"id": pa.array(range(4), pa.int64()), "ds": [DAY, DAY, NEXT, NEXT]})
    for table in (TABLE, TRAINING):
        made.lake.publish(made.lake.stage(table, rows.to_reader(), [DAY, NEXT], BY, ("id",)), BY)
    return made


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Make an old file that nobody wants to lose."""
    folder = tmp_path / "outside" / "deeper"
    folder.mkdir(parents=True)
    file = folder / "precious.parquet"
    file.write_text("precious")
    os.utime(file, (1e9, 1e9))
    return file


@pytest.mark.parametrize(
    "where", [f"{TABLE}/ds=2013-11-05", f"{TRAINING}/ds=2013-11-05", "_stages/flights/raw", "_attempts/flights/link"]
)
def test_maintenance_deletes_nothing_through_a_link(workspace: Workspace, outside: Path, where: str) -> None:
    """Delta's vacuum followed the link and deleted the files outside."""
    link = Path(workspace.settings.lake_root) / where
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_dir():
        link.rename(link.with_name("moved"))
    link.symlink_to(outside.parents[1])
    with pytest.raises(LinkInLake, match=f"symbolic links in the lake: {link}; nothing was deleted"):
        maintenance.vacuum(workspace, 0, dry_run=False)
    assert outside.read_text() == "precious"
    link.unlink()
    maintenance.vacuum(workspace, 0, dry_run=False)


def test_rows_behind_a_link_are_not_taken_for_published_ones(workspace: Workspace) -> None:
    folder = Path(workspace.settings.lake_root, TABLE)
    (published,), (other,) = ((folder / f"ds={key}").glob("*.parquet") for key in (DAY, NEXT))
    published.unlink()
    published.symlink_to(other)
    (found,) = verify.verify(workspace).differences
    assert str(found).startswith(f"{TABLE} {DAY} (version 1): the rows have the fingerprint ")


def test_a_report_takes_the_place_of_a_link(tmp_path: Path) -> None:
    precious, page = tmp_path / "precious", tmp_path / "index.html"
    precious.write_text("precious")
    page.symlink_to(precious)
    replace_text(page, "page")
    assert (precious.read_text(), page.read_text(), page.is_symlink()) == ("precious", "page", False)
