"""A use-case folder from a stranger: its code runs in the tasks of that use case, and nowhere before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from include.core.errors import SpecError
from include.sources.adapter import open_adapter
from include.spec.loading import MORE_FOLDERS, broken_use_cases, load_use_case, load_use_cases
from tests.dags.airflow_home import parse_elsewhere

CODE = "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n"
SQL = "COPY (SELECT 1) TO '{folder}/ran' (FORMAT csv)"


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """Make a use case whose every file writes a file `ran` when it is executed."""
    folder = tmp_path / "stranger"
    for part in ("sql/features", "sql/training", "suites"):
        (folder / part).mkdir(parents=True)
    spec = {"name": "stranger", "like": "flights", "title": "{{ 7 * 7 }} <script>", "limits": ["${HOME} $(touch ran)"]}
    (folder / "stranger.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    for name in ("__init__.py", "source.py", "conftest.py", "stranger.py"):
        (folder / name).write_text(CODE, encoding="utf-8")
    for path in ("sql/features/calendar.sql", "sql/training/entities.sql", "sql/training/labels.sql"):
        (folder / path).write_text(SQL.format(folder=folder), encoding="utf-8")
    suite = {"table": "schedule", "key": ["id"], "columns": {"ds": "VARCHAR"}, "expectations": []}
    suite["quarantine"] = [{"name": "rule", "when": SQL.format(folder=folder), "reason": "x"}]
    (folder / "suites" / "schedule.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")
    return folder


def test_listing_and_parsing_run_nothing_of_it(stranger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(path.name for path in stranger.rglob("*"))
    monkeypatch.setenv(MORE_FOLDERS, str(stranger.parent))
    assert "stranger" in {case.name for case in load_use_cases()}
    found = parse_elsewhere(**{MORE_FOLDERS: str(stranger.parent), "HOME": str(stranger)})
    assert found["import_errors"] == {}
    shown = json.loads(found["serialized"]["stranger_score"])
    assert "stranger" in json.dumps(shown)
    assert sorted(path.name for path in stranger.rglob("*")) == before, "nothing ran, and nothing was written"


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system ['touch ran']", "!!python/name:os.system", "!!python/module:os"]
)
def test_a_spec_makes_no_objects(stranger: Path, monkeypatch: pytest.MonkeyPatch, tag: str) -> None:
    (stranger / "stranger.yaml").write_text(f"name: stranger\nlike: flights\ntitle: {tag}\n", encoding="utf-8")
    monkeypatch.chdir(stranger)
    monkeypatch.setenv(MORE_FOLDERS, str(stranger.parent))
    with pytest.raises(SpecError, match=r"stranger\.yaml: not readable as YAML"):
        load_use_case("stranger")
    assert not (stranger / "ran").exists()


@pytest.mark.parametrize("adapter", ["os:system", "a/b:Source", "../source:Source", "source"])
def test_a_spec_names_a_class_of_a_module(stranger: Path, monkeypatch: pytest.MonkeyPatch, adapter: str) -> None:
    values = {"name": "stranger", "like": "flights", "source": {"adapter": adapter}}
    (stranger / "stranger.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    monkeypatch.setenv(MORE_FOLDERS, str(stranger.parent))
    (broken,) = broken_use_cases()
    assert "source.adapter" in str(broken.error)


def test_a_class_that_is_no_adapter_is_not_made(stranger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A spec alone, without any code of its own, wrote a file: making a log handler opens one."""
    values = {"name": "stranger", "like": "flights", "source": {"adapter": "logging.handlers:WatchedFileHandler"}}
    (stranger / "stranger.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    monkeypatch.setenv(MORE_FOLDERS, str(stranger.parent))
    with pytest.raises(SpecError, match=r"logging\.handlers:WatchedFileHandler is no source adapter"):
        open_adapter(load_use_case("stranger"), str(stranger / "ran"))
    assert not (stranger / "ran").exists()


@pytest.mark.parametrize("name", ["../flights", "a/b", "a.b", "", "A", "a" * 41])
def test_a_name_is_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "odd").mkdir()
    values = {"name": name, "like": "flights"}
    (tmp_path / "odd" / "odd.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    monkeypatch.setenv(MORE_FOLDERS, str(tmp_path))
    (broken,) = broken_use_cases()
    assert "name" in str(broken.error)
