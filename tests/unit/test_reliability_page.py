"""docs/reliability.md cites tests that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from include.core.repository import REPOSITORY

PAGE = (REPOSITORY / "docs" / "reliability.md").read_text(encoding="utf-8")
CITED = re.compile(r"`(tests/[\w/]+\.py)?(?:::(test_\w+))?`")


def citations() -> Iterator[tuple[str, str]]:
    """Yield file and test of each citation; ``::test_x`` alone belongs to the file named before it on its line."""
    for line in PAGE.splitlines():
        file = ""
        for named, test in CITED.findall(line):
            file = named or file
            if named or test:
                yield file, test


@pytest.mark.parametrize(("file", "test"), sorted(set(citations())))
def test_a_cited_test_exists(file: str, test: str) -> None:
    path = REPOSITORY / file
    assert path.is_file(), f"docs/reliability.md cites {file or '::' + test}"
    if test:
        functions = {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}
        assert test in functions, f"docs/reliability.md cites {file}::{test}"


def test_there_are_citations() -> None:
    assert len(set(citations())) > 60
