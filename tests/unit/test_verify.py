"""A lake is verified against its publish records: what differs is named by table and partition."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from include.core.errors import ContentDiffers, TrainingError
from include.lake import compaction
from include.lake.appending import append
from include.lake.records import Attempt
from include.steps import verify
from include.steps.handover import FrozenTrainingSet
from include.steps.train import training_sets
from include.steps.workspace import Workspace
from include.training.training_set import TrainingSet
from tests.unit.small_source import DAY, NEXT, small_workspace

pytestmark = pytest.mark.fault

TABLE = "flights/raw/tiny"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Return a lake with two partitions of 50 rows, an empty one, and a ledger of three entries."""
    made = small_workspace(tmp_path, "SELECT 1")
    keys = [DAY, NEXT, "2013-11-04"]
    rows = pa.table(
        {"id": pa.array(range(100), pa.int64()), "name": ["one", "two"] * 50, "ds": [DAY] * 50 + [NEXT] * 50}
    )
    by = Attempt("flights", "flights_ingest", "r1")
    made.lake.publish(made.lake.stage(TABLE, rows.to_reader(), keys, by, ("id",)), by)
    for entry in range(3):
        by = Attempt("flights", "flights_promote", f"r{entry}")
        append(made.lake, "flights/ledger/promotions", pa.table({"version": [entry]}), DAY, by, entry)
    return made


def file_of(workspace: Workspace, key: str) -> Path:
    (path,) = Path(workspace.settings.lake_root, TABLE, f"ds={key}").glob("*.parquet")
    return path


def differences(workspace: Workspace) -> list[str]:
    return [str(found) for found in verify.verify(workspace).differences]


def test_a_whole_lake_differs_nowhere(workspace: Workspace) -> None:
    found = verify.verify(workspace)
    assert (found.partitions, found.rows, found.differences, found.unnamed) == (4, 103, (), ())


@pytest.mark.parametrize("compacted", [False, True])
def test_a_ledger_that_got_a_column_is_whole(workspace: Workspace, compacted: bool) -> None:
    """As when an entry with a signature follows entries from before models were signed."""
    name, by = "flights/ledger/promotions", Attempt("flights", "flights_promote", "r3")
    append(workspace.lake, name, pa.table({"version": [3], "signed": ["yes"]}), DAY, by, 3)
    if compacted:
        compaction.compact(workspace.lake, name, workspace.lake.open(name))
    assert workspace.lake.dataset(name).to_table(["version", "signed"]).sort_by("version").to_pydict() == {
        "version": [0, 1, 2, 3],
        "signed": [None, None, None, "yes"],
    }
    assert differences(workspace) == []


def test_a_compacted_ledger_is_whole(workspace: Workspace) -> None:
    ledger = "flights/ledger/promotions"
    assert compaction.compact(workspace.lake, ledger, workspace.lake.open(ledger)) == 2
    assert differences(workspace) == []


def test_a_flipped_byte_is_named(workspace: Workspace) -> None:
    file = file_of(workspace, NEXT)
    content = bytearray(file.read_bytes())
    where = content.index(b"two")
    content[where] ^= 1
    file.write_bytes(content)
    (found,) = differences(workspace)
    assert found.startswith(f"{TABLE} {NEXT} (version 1): the rows have the fingerprint ")


def test_a_flipped_byte_of_the_footer_is_named(workspace: Workspace) -> None:
    file = file_of(workspace, NEXT)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    (found,) = differences(workspace)
    assert f"{TABLE} {NEXT} (version 1)" in found
    assert "cannot be read" in found


def test_a_changed_value_is_named(workspace: Workspace) -> None:
    file = file_of(workspace, DAY)
    rows = pq.read_table(file, partitioning=None)
    changed = pc.if_else(pc.equal(rows["id"], 7), 8, rows["id"])
    pq.write_table(rows.set_column(0, "id", changed), file)
    (found,) = differences(workspace)
    assert found.startswith(f"{TABLE} {DAY} (version 1): the rows have the fingerprint ")


def test_lost_rows_are_counted(workspace: Workspace) -> None:
    file = file_of(workspace, DAY)
    pq.write_table(pq.read_table(file, partitioning=None).slice(1), file)
    assert differences(workspace) == [f"{TABLE} {DAY} (version 1): 49 rows are there, 50 were published"]


def test_a_missing_file_is_named(workspace: Workspace) -> None:
    file = file_of(workspace, DAY)
    file.unlink()
    assert differences(workspace) == [f"{TABLE} {DAY} (version 1): ds={DAY}/{file.name} is missing"]


def test_a_changed_entry_of_a_ledger_is_named(workspace: Workspace) -> None:
    folder = Path(workspace.settings.lake_root, "flights/ledger/promotions", f"ds={DAY}")
    pq.write_table(pa.table({"version": [9]}), sorted(folder.glob("*.parquet"))[0])
    (found,) = differences(workspace)
    assert found.endswith("an entry is not as it was appended")


def test_files_that_no_commit_names_are_only_reported(workspace: Workspace) -> None:
    file = file_of(workspace, DAY)
    left = file.with_name("left.parquet")
    left.write_bytes(file.read_bytes())
    found = verify.verify(workspace)
    assert (found.differences, found.unnamed) == ((), (str(left),))
    found.raise_for_differences()


def test_the_command_ends_with_1_on_a_difference(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Workspace, "open", lambda name: workspace)
    assert verify.main(["--use-case", "flights"]) == 0
    assert "4 partitions with 103 rows read, 0 differ" in capsys.readouterr().out
    file_of(workspace, DAY).unlink()
    assert verify.main(["--use-case", "flights"]) == 1
    assert "What to do: bring the table's folder back from a backup" in capsys.readouterr().out
    with pytest.raises(ContentDiffers, match=f"{TABLE} {DAY}"):
        verify.verify(workspace).raise_for_differences()


def test_a_reader_of_a_training_set_notices_a_changed_row(workspace: Workspace) -> None:
    rows = workspace.lake.dataset(TABLE, [DAY]).to_table()
    by, table = Attempt("flights", "flights_train", "r1"), "flights/training/as_of_2013_11_02"
    workspace.lake.publish(workspace.lake.stage(table, rows.to_reader(), [DAY], by, ("id",)), by)
    frozen = FrozenTrainingSet(
        as_of=DAY, table=table, uri=workspace.lake.uri(table), version=1, rows=50, trained_through="2013-11-01",
        fingerprint=TrainingSet.of(rows).fingerprint,
    )  # fmt: skip
    assert training_sets.load(frozen).table.num_rows == 50
    (file,) = Path(frozen.uri).glob("ds=*/*.parquet")
    content = bytearray(file.read_bytes())
    content[content.index(b"two")] ^= 1
    file.write_bytes(content)
    with pytest.raises(TrainingError, match="its rows are not the frozen ones"):
        training_sets.load(frozen)
