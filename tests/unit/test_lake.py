"""The lake publishes whole partitions once, in one commit, and refuses late attempts."""

from __future__ import annotations

import multiprocessing as mp
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from include.core import partitions
from include.core.errors import (
    LateAttempt,
    MissingPartitions,
    PromotionConflict,
    RowsRefused,
    SchemaMismatch,
    StaleStage,
)
from include.lake import file_statistics, reader
from include.lake.appending import append
from include.lake.lake import Lake
from include.lake.reader import LakeReader
from include.lake.records import Attempt
from tests.waiting import HANGS_AFTER_S

TABLE = "flights/raw/outcomes"
DAY, NEXT = "2013-11-02", "2013-11-03"


def rows(**days: list[int]) -> pa.RecordBatchReader:
    """Return a reader with one ``value`` row for each number, under keys written as ``d2013_11_02``."""
    keys = [(name[1:].replace("_", "-"), value) for name, values in days.items() for value in values]
    table = pa.table(
        {
            "value": pa.array([v for _, v in keys], pa.int64()),
            "ds": pa.array([k for k, _ in keys], pa.string()),
        }
    )
    return table.to_reader()


def attempt(name: str = "r1", number: int = 1) -> Attempt:
    return Attempt("flights", "flights_ingest", name, number)


def values(lake: LakeReader, key: str, version: int | None = None) -> list[int]:
    return sorted(lake.dataset(TABLE, [key], version).to_table()["value"].to_pylist())


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path))


def put(lake: Lake, reader: pa.RecordBatchReader, keys: list[str], by: Attempt):
    return lake.publish(lake.stage(TABLE, reader, keys, by, order=("value",)), by)


def test_a_stage_is_invisible_until_it_is_published(lake: Lake) -> None:
    stage = lake.stage(TABLE, rows(d2013_11_02=[1, 2]), [DAY], attempt(), order=("value",))
    assert lake.published(TABLE, [DAY]) == frozenset()
    lake.publish(stage, attempt())
    assert values(lake, DAY) == [1, 2]


def test_publishing_the_same_content_again_makes_no_version(lake: Lake) -> None:
    first = put(lake, rows(d2013_11_02=[1, 2]), [DAY], attempt())
    again = put(lake, rows(d2013_11_02=[2, 1]), [DAY], attempt("r2"))
    assert (again.version, again.published, again.unchanged) == (first.version, (), (DAY,))


def test_a_correction_replaces_only_its_partition(lake: Lake) -> None:
    put(lake, rows(d2013_11_02=[1], d2013_11_03=[5]), [DAY, NEXT], attempt())
    before = lake.version(TABLE)
    done = put(lake, rows(d2013_11_02=[9], d2013_11_03=[5]), [DAY, NEXT], attempt("r2"))
    assert done.published == (DAY,)
    assert (values(lake, DAY), values(lake, NEXT)) == ([9], [5])
    assert values(lake, DAY, version=before) == [1]


def test_a_partition_without_rows_counts_as_published(lake: Lake) -> None:
    put(lake, rows(d2013_11_03=[5]), [DAY, NEXT], attempt())
    assert lake.published(TABLE, [DAY, NEXT, "2013-11-04"]) == {DAY, NEXT}
    assert lake.records(TABLE, [DAY])[DAY].rows == 0


def test_a_partition_can_become_empty(lake: Lake) -> None:
    put(lake, rows(d2013_11_02=[1]), [DAY], attempt())
    put(lake, rows(), [DAY], attempt("r2"))
    assert values(lake, DAY) == []


def test_records_say_who_published_what_from_which_inputs(lake: Lake) -> None:
    put(lake, rows(d2013_11_02=[1]), [DAY], attempt())
    source = lake.inputs(TABLE, [DAY])
    stage = lake.stage(
        "flights/features/carrier", rows(d2013_11_02=[3]), [DAY], attempt("f"), order=(), inputs={TABLE: source}
    )
    lake.publish(stage, attempt("f"), report="data_docs/x.html")
    record = lake.records("flights/features/carrier")[DAY]
    assert (record.attempt.run_id, record.inputs, record.report) == ("f", {TABLE: source}, "data_docs/x.html")


def test_inputs_change_only_when_the_keys_read_change(lake: Lake) -> None:
    put(lake, rows(d2013_11_02=[1]), [DAY], attempt())
    before = lake.inputs(TABLE, [DAY])
    put(lake, rows(d2013_11_03=[1]), [NEXT], attempt("r2"))
    assert lake.inputs(TABLE, [DAY]).fingerprint == before.fingerprint
    put(lake, rows(d2013_11_02=[2]), [DAY], attempt("r3"))
    assert lake.inputs(TABLE, [DAY]).fingerprint != before.fingerprint


def test_a_reader_at_one_moment_reads_and_records_one_version(lake: Lake) -> None:
    put(lake, rows(d2013_11_02=[1]), [DAY], attempt())
    before = lake.inputs(TABLE, [DAY])
    now = lake.at_one_moment()
    assert values(now, DAY) == [1]
    put(lake, rows(d2013_11_02=[2], d2013_11_03=[3]), [DAY, NEXT], attempt("r2"))
    assert values(now, DAY) == values(now, DAY, before.version) == [1]
    assert now.inputs(TABLE, [DAY]) == before
    assert (now.version(TABLE), now.published(TABLE, [DAY, NEXT])) == (before.version, {DAY})
    assert values(lake, DAY) == [2]
    assert lake.inputs(TABLE, [DAY]).version == before.version + 1
    assert values(lake.at_one_moment(), DAY) == [2]


def test_a_table_without_a_version_stays_so_for_a_reader_at_one_moment(lake: Lake) -> None:
    now = lake.at_one_moment()
    assert now.version(TABLE) is None
    put(lake, rows(d2013_11_02=[1]), [DAY], attempt())
    assert now.records(TABLE) == {}
    with pytest.raises(MissingPartitions, match="never been published"):
        now.dataset(TABLE)


def test_a_reader_at_one_moment_opens_each_version_once(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    put(lake, rows(d2013_11_02=[1]), [DAY], attempt())
    opened = []

    def counting(uri: str, version: int | None = None) -> DeltaTable:
        opened.append(version)
        return DeltaTable(uri, version=version)

    monkeypatch.setattr(reader, "DeltaTable", counting)
    now = lake.at_one_moment()
    newest = now.version(TABLE)
    assert now.at_one_moment().open(TABLE) is now.open(TABLE, newest)
    assert now.keys(TABLE) == [DAY]
    now.open(TABLE, 0)
    assert opened == [None, 0]


def test_a_reader_cannot_stage_or_publish(lake: Lake) -> None:
    changing = {name for name in dir(Lake) if not name.startswith("_")} - set(dir(LakeReader))
    assert {"stage", "publish", "discard"} <= changing
    assert not [name for name in changing if hasattr(lake.at_one_moment(), name)]


def test_records_of_an_earlier_version_are_those_of_that_version(lake: Lake) -> None:
    made = [put(lake, rows(d2013_11_02=[value]), [DAY], attempt(f"r{value}")) for value in range(40)]
    then = {done.version: lake.fingerprints(TABLE, [DAY], done.version)[DAY] for done in made}
    assert len(set(then.values())) == 40
    assert {record.version: record.fingerprint for record in lake.history(TABLE)} == then


def test_a_late_attempt_publishes_nothing(lake: Lake) -> None:
    late = lake.stage(TABLE, rows(d2013_11_02=[1]), [DAY], attempt(number=1), order=())
    put(lake, rows(d2013_11_02=[2]), [DAY], attempt(number=2))
    with pytest.raises(LateAttempt, match=r"attempt 1 .* overtaken by attempt 2"):
        lake.publish(late, attempt(number=1))
    assert values(lake, DAY) == [2]


def test_a_late_attempt_is_refused_before_its_successor_has_committed(lake: Lake) -> None:
    late = lake.stage(TABLE, rows(d2013_11_02=[1]), [DAY], attempt(number=1), order=())
    lake._claim(TABLE, attempt(number=2))
    with pytest.raises(LateAttempt):
        lake.publish(late, attempt(number=1))


def test_an_old_stage_does_not_undo_a_newer_publish(lake: Lake) -> None:
    """C21: a publish that is cleared after a newer one is refused, and says how to go on."""
    old = lake.stage(TABLE, rows(d2013_11_02=[1], d2013_11_03=[5]), [DAY, NEXT], attempt(), order=())
    lake.publish(old, attempt())
    put(lake, rows(d2013_11_02=[2]), [DAY], attempt("r2"))
    again = lake.open_stage(old.path)
    with pytest.raises(StaleStage, match=r"2013-11-02 changed since this stage was made: flights_ingest r2 .* clear"):
        lake.publish(again, attempt(number=2))
    with pytest.raises(StaleStage):
        lake.refuse_stale(again)
    assert (values(lake, DAY), lake.version(TABLE)) == ([2], 2)


def test_a_stage_that_is_published_already_may_be_published_again(lake: Lake) -> None:
    """C21: another partition changed, not those of the stage."""
    stage = lake.stage(TABLE, rows(d2013_11_02=[1]), [DAY], attempt(), order=())
    lake.publish(stage, attempt())
    put(lake, rows(d2013_11_03=[2]), [NEXT], attempt("r2"))
    assert lake.publish(lake.open_stage(stage.path), attempt(number=2)).unchanged == (DAY,)


IDS = ("019a0000-0000-7000-8000-000000000001", "019a0000-0000-7000-8000-000000000002", "019b0000-0000-7000-8000-0")


def tried(number: int, try_id: str) -> Attempt:
    return Attempt("flights", "flights_ingest", "requested__2013-11-02", number, try_id=try_id)


@pytest.mark.parametrize("claims", [True, False], ids=["claims kept", "claims removed by maintenance"])
def test_a_dag_run_that_was_made_anew_publishes(lake: Lake, claims: bool) -> None:
    """C37: its tries count from 1 again, and are no late ones."""
    put(lake, rows(d2013_11_02=[1]), [DAY], tried(2, IDS[1]))
    if not claims:
        shutil.rmtree(Path(lake.root) / "_attempts")
    put(lake, rows(d2013_11_02=[2]), [DAY], tried(1, IDS[2]))
    assert values(lake, DAY) == [2]


def test_a_late_attempt_is_known_by_its_id(lake: Lake) -> None:
    """C37: a try from before is late, whatever its DAG run has become."""
    late = lake.stage(TABLE, rows(d2013_11_02=[1]), [DAY], tried(1, IDS[0]), order=())
    put(lake, rows(d2013_11_02=[2]), [DAY], tried(2, IDS[1]))
    with pytest.raises(LateAttempt, match="overtaken by attempt 2"):
        lake.publish(late, tried(1, IDS[0]))
    lake._claim(TABLE, tried(1, IDS[2]))
    with pytest.raises(LateAttempt, match="overtaken by attempt 1"):
        lake.publish(late, tried(1, IDS[1].replace("0002", "0003")))


def test_a_retry_whose_id_is_older_is_not_late(lake: Lake) -> None:
    """C37: ids come from clocks, and the scheduler that made the retry had one that was behind."""
    put(lake, rows(d2013_11_02=[1]), [DAY], tried(1, IDS[1]))
    assert put(lake, rows(d2013_11_02=[2]), [DAY], tried(2, IDS[0])).published == (DAY,)


def test_records_are_found_behind_long_history(lake: Lake) -> None:
    put(lake, rows(d2013_11_02=[1]), [DAY], attempt())
    for n in range(40):
        put(lake, rows(d2013_11_03=[n]), [NEXT], attempt(f"n{n}"))
    assert lake.records(TABLE, [DAY])[DAY].attempt.run_id == "r1"


def test_other_columns_are_refused_by_name(lake: Lake) -> None:
    put(lake, rows(d2013_11_02=[1]), [DAY], attempt())
    other = pa.table({"worth": pa.array([1.0]), "ds": pa.array([DAY])}).to_reader()
    with pytest.raises(SchemaMismatch, match="value is missing; worth is new"):
        lake.publish(lake.stage(TABLE, other, [DAY], attempt("r2"), order=()), attempt("r2"))
    assert values(lake, DAY) == [1]


def test_rows_of_a_partition_that_was_not_asked_for_are_refused(lake: Lake) -> None:
    with pytest.raises(RowsRefused, match="2013-11-03 was not asked for"):
        lake.stage(TABLE, rows(d2013_11_03=[1]), [DAY], attempt(), order=())


def test_require_names_what_is_missing(lake: Lake) -> None:
    put(lake, rows(d2013_11_02=[1]), [DAY], attempt())
    with pytest.raises(MissingPartitions, match="flights/raw/outcomes: 2013-11-03 not published"):
        lake.require(TABLE, [DAY, NEXT])


@pytest.mark.parametrize("name", ["flights/raw/../x", "flights/outcomes", "/etc/passwd", "flights/raw/a b"])
def test_hostile_table_names_are_refused(lake: Lake, name: str) -> None:
    with pytest.raises(ValueError, match="no table name"):
        lake.uri(name)


def test_of_two_ledger_entries_that_race_one_wins(lake: Lake) -> None:
    entry = pa.table({"version": ["3"]})
    assert lake.records("flights/ledger/promotions") == {}
    assert append(lake, "flights/ledger/promotions", entry, DAY, attempt(), expected=0) == 1
    with pytest.raises(PromotionConflict):
        append(lake, "flights/ledger/promotions", entry, DAY, attempt("r2"), expected=0)
    assert lake.dataset("flights/ledger/promotions").to_table().num_rows == 1


def _publish_in_process(root: str, key: str, value: int, barrier) -> None:
    lake, by = Lake(root), attempt(f"{key}-{value}")
    stage = lake.stage(TABLE, rows(**{"d" + key.replace("-", "_"): [value]}), [key], by, order=())
    barrier.wait()
    lake.publish(stage, by)


@pytest.mark.parametrize(
    ("keys", "published"),
    [(["2013-11-01", "2013-11-02", "2013-11-03", "2013-11-04"], 4), (["2013-11-01"] * 4, 1)],
    ids=["different partitions", "one partition"],
)
def test_concurrent_publishers_fail_each_other_only_over_one_partition(
    lake: Lake, keys: list[str], published: int
) -> None:
    """C21: of four other contents of one partition, staged at once, one is published and three are refused."""
    put(lake, rows(d2013_10_31=[0]), ["2013-10-31"], attempt())
    context = mp.get_context("spawn")
    barrier = context.Barrier(len(keys))
    workers = [
        context.Process(target=_publish_in_process, args=(lake.root, key, n, barrier)) for n, key in enumerate(keys)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(HANGS_AFTER_S)
    assert sorted(worker.exitcode or 0 for worker in workers) == [0] * published + [1] * (len(keys) - published)
    table = lake.dataset(TABLE).to_table()
    assert table.num_rows == published + 1


def test_types_that_delta_would_change_are_refused_by_column(lake: Lake) -> None:
    unsigned = pa.table({"value": pa.array([1], pa.uint64()), "ds": [DAY]}).to_reader()
    with pytest.raises(RowsRefused, match="value is uint64"):
        lake.stage(TABLE, unsigned, [DAY], attempt(), order=())


def test_files_outside_a_window_of_instants_are_not_opened(lake: Lake) -> None:
    """Point-in-time joins read a few days of a table that grows for years."""
    keys = [DAY, NEXT, "2013-11-04"]
    # the last microsecond of a millisecond: Delta's log keeps whole ones
    instants = [datetime(2013, 11, day, 4, 0, 0, 999_999, tzinfo=UTC) for day in (2, 3, 4)]
    made = pa.table({"at": pa.array(instants, pa.timestamp("us", "UTC")), "value": [1, 2, 3], "ds": keys})
    put(lake, made.to_reader(), keys, attempt())
    put(lake, made.slice(0, 0).to_reader(), ["2013-11-05"], attempt("empty"))
    at = pc.field("at")

    def opened(window: pc.Expression) -> list[str]:
        found = lake.dataset(TABLE).get_fragments(filter=window)
        return sorted(str(part.path).split("/")[0].removeprefix("ds=") for part in found)

    assert opened(at >= pa.scalar(instants[1], pa.timestamp("us", "UTC"))) == [NEXT, "2013-11-04"]
    assert opened(at <= pa.scalar(instants[1], pa.timestamp("us", "UTC"))) == [DAY, NEXT]
    exact = lake.dataset(TABLE).to_table(filter=at == pa.scalar(instants[1], pa.timestamp("us", "UTC")))
    assert exact["value"].to_pylist() == [2]


def test_bounds_of_a_file_are_rounded_outwards() -> None:
    instants = pa.array([datetime(2013, 11, 2, 4, 0, 0, 1_234, tzinfo=UTC), None], pa.timestamp("us", "UTC"))
    assert file_statistics.of(pa.table({"at": instants, "value": [1, 2]})) == {
        "numRecords": 2,
        "minValues": {"at": "2013-11-02T04:00:00.001Z"},
        "maxValues": {"at": "2013-11-02T04:00:00.002Z"},
        "nullCount": {"at": 1},
    }
    assert file_statistics.of(pa.table({"value": [1, 2]})) == {"numRecords": 2}


def test_files_of_one_group_have_bounds_of_their_own() -> None:
    early, late = datetime(2013, 11, 2, 4, tzinfo=UTC), datetime(2013, 11, 3, 4, tzinfo=UTC)
    rows = pa.table({"at": pa.array([early, late, late, None, None], pa.timestamp("us", "UTC"))})
    parts = file_statistics.of_parts(rows, [2, 0, 2, 1])
    assert [part["minValues"] for part in parts] == [
        {"at": "2013-11-02T04:00:00.000Z"}, {}, {"at": "2013-11-03T04:00:00.000Z"}, {},
    ]  # fmt: skip
    assert [part["maxValues"].get("at", "")[:10] for part in parts] == ["2013-11-03", "", "2013-11-03", ""]
    assert [(part["numRecords"], part["nullCount"]["at"]) for part in parts] == [(2, 0), (0, 0), (2, 1), (1, 1)]


def test_partitions_without_rows_are_found_among_few_and_among_many(lake: Lake) -> None:
    keys = partitions.key_range("2013-11-01", "2013-11-20")
    empty = [key for key in keys if key != DAY]
    put(lake, rows(d2013_11_02=[1]), list(keys), attempt())
    unknown = partitions.key_range("2014-01-01", "2014-01-20")
    assert lake.published(TABLE, [*empty[:3], unknown[0]]) == frozenset(empty[:3])
    assert lake.published(TABLE, [*keys, *unknown]) == frozenset(keys)
