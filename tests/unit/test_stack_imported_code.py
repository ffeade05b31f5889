"""Tests of imported packages in forked children: they keep the modules, but never run outdated code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from include.stack.imported_code import ImportedPackage

PACKAGE = "imported_sample"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / PACKAGE
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "answer.py").write_text("from imported_sample.unit import UNIT\nANSWER = '6 x 7 = ' + UNIT\n")
    (folder / "unit.py").write_text("UNIT = '42'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import_module(f"{PACKAGE}.answer")
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


def in_child(watched: ImportedPackage) -> str:
    """Fork a child that checks its modules, and return its report."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        watched.drop_if_edited()
        imported = "kept" if f"{PACKAGE}.unit" in sys.modules else "dropped"
        os.write(writes, f"{imported}: {import_module(f'{PACKAGE}.answer').ANSWER}".encode())
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as said:
        answer = said.read()
    os.waitpid(child, 0)
    return answer


def test_a_child_keeps_what_its_parent_imported(package: Path) -> None:
    assert in_child(ImportedPackage(PACKAGE)) == "kept: 6 x 7 = 42"


def test_a_child_imports_anew_what_was_edited_and_all_that_may_have_used_it(package: Path) -> None:
    watched = ImportedPackage(PACKAGE)
    (package / "unit.py").write_text("UNIT = 'forty-two'\n")
    assert in_child(watched) == "dropped: 6 x 7 = forty-two"
    assert f"{PACKAGE}.unit" in sys.modules, "the parent keeps its own"


def test_a_child_imports_anew_where_a_file_is_gone(package: Path) -> None:
    watched = ImportedPackage(PACKAGE)
    (package / "answer.py").write_text("ANSWER = 'unit is gone'\n")
    (package / "unit.py").unlink()
    assert in_child(watched) == "dropped: unit is gone"


def test_a_child_of_a_child_that_imported_anew_keeps_what_that_has(package: Path) -> None:
    watched = ImportedPackage(PACKAGE)
    (package / "unit.py").write_text("UNIT = 'forty-two'\n")
    watched.drop_if_edited()
    import_module(f"{PACKAGE}.answer")
    assert in_child(watched) == "kept: 6 x 7 = forty-two"
