"""Tests of log rotation: by size, with a writer that goes on, and a bounded number of old files."""

from __future__ import annotations

from pathlib import Path

from include.stack.log_files import numbered, rotate


def test_a_writer_goes_on_in_the_emptied_file(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    with log.open("ab", buffering=0) as writer:
        for number in range(6):
            writer.write(f"content {number}\n".encode())
            assert rotate(log, limit=5, kept=3)
        writer.write(b"now\n")
    assert log.read_text() == "now\n"
    assert [numbered(log, n).read_text() for n in (1, 2, 3)] == ["content 5\n", "content 4\n", "content 3\n"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part.log", "part.log.1", "part.log.2", "part.log.3"]


def test_a_small_or_missing_log_stays(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    assert not rotate(log)
    log.write_text("short\n")
    assert not rotate(log)
    assert log.read_text() == "short\n"
