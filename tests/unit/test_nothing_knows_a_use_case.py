"""No column of a shipped use case stands outside its folder.

Only names with an underscore are looked for: without one, a name such as `carrier` may be a word of ordinary English.
"""

from __future__ import annotations

import re
from pathlib import Path

from include.core import yaml_file
from include.core.repository import REPOSITORY
from include.spec.use_case import FOLDER

# columns that every use case has, and words that mean something of their own in the code
OURS = {
    "created_timestamp", "date", "day", "ds", "event_timestamp", "features_version", "known_at", "label_known_at",
    "model_version", "month", "name", "origin", "prediction", "speed", "time_hour", "type", "year",
}  # fmt: skip
KINDS = {".py", ".sql", ".yaml", ".html", ".jinja", ".j2"}


def columns() -> set[str]:
    """Return the columns with an underscore that a suite of a shipped use case names."""
    suites = [yaml_file.parse(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*/suites/*.yaml")]
    return {name for suite in suites for name in suite["columns"] if "_" in name} - OURS


def files() -> list[Path]:
    found = [path for folder in ("dags", "plugins", "include") for path in (REPOSITORY / folder).rglob("*")]
    return [path for path in found if path.suffix in KINDS and FOLDER not in path.parents]


def words_of(path: Path) -> set[str]:
    return set(re.findall(r"[a-z][a-z0-9_]*", path.read_text(encoding="utf-8")))


def test_no_column_of_a_use_case_stands_outside_its_folder() -> None:
    known = columns()
    assert len(known) > 100
    assert len(files()) > 200
    found = {str(path.relative_to(REPOSITORY)): words_of(path) & known for path in files()}
    assert {path: words for path, words in found.items() if words} == {}
