"""The documentation says what there is: targets, settings, operators, spec fields, errors, decisions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs import generate, hooks, spec_reference
from include.core import errors

DOCS = generate.REPOSITORY / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), *(generate.REPOSITORY / source for source in hooks.BESIDE_THE_CODE)]


def test_every_make_target_says_what_it_does() -> None:
    makefile = (generate.REPOSITORY / "Makefile").read_text(encoding="utf-8")
    phony = {name for line in re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE) for name in line.split()}
    listed = {name for targets in generate.make_targets().values() for name, _ in targets}
    assert phony - listed == set(), "give the target a `## text`: `make help` and the reference page show it"
    assert all(f"`make {name}`" in generate.make_page() for name in listed)


def test_every_setting_has_an_entry() -> None:
    page = generate.settings_page()
    names = [setting.name for setting in generate.settings()] + generate.other_settings()
    assert "LIFECYCLE_LAKE_ROOT" in names
    assert [name for name in names if f"| `{name}` |" not in page] == []


def test_every_setting_is_explained() -> None:
    unexplained = re.findall(r"^\| `([A-Z]\w+)` \|(?:.*\|)?  ?\|$", generate.settings_page(), re.MULTILINE)
    assert unexplained == [], "write a comment above it in docker/airflow.env, or a line in docs/generate.py"


def test_every_field_of_a_spec_is_explained() -> None:
    """A choice (`kind`, `gpu`) may speak for itself."""
    lines = spec_reference.spec_page().splitlines()
    unexplained = {line.split("`")[1] for line in lines if re.match(r"^\| `\w+` \|.*\|  \|$", line)}
    assert unexplained <= {"kind", "gpu"}


def test_every_operator_has_an_entry_that_says_what_it_does() -> None:
    page = generate.operators_page({})
    found = generate.operators()
    assert {"LandOperator", "ScoreOperator"} <= {operator.name for operator in found}
    assert [operator.name for operator in found if f"## {operator.name}\n" not in page] == []
    assert [operator.name for operator in found if not operator.about] == []


def test_every_group_and_field_of_a_spec_has_an_entry() -> None:
    page = spec_reference.spec_page()
    assert [name for name in spec_reference.spec_model("UseCase").model_fields if f"| `{name}` |" not in page] == []
    for group in ("`training`", "`raw.<name>`", "`gates.slices.<name>`", "`monitoring.quality`"):
        assert f"## {group}\n" in page


def test_a_field_shows_type_default_and_meaning() -> None:
    line = next(line for line in spec_reference.spec_page().splitlines() if line.startswith("| `trials` |"))
    assert "whole number, at least 1" in line
    assert "<code>12</code>" in line
    assert "budget" in line


def test_troubleshooting_names_errors_that_exist() -> None:
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    named = re.findall(r"^### `(\w+)`:", text, re.MULTILINE)
    assert len(set(named)) >= 12
    assert [name for name in named if not hasattr(errors, name)] == []
    assert text.count("\n### ") >= 20


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_between_files_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    lost = [target for target in targets if target and not (page.parent / target).exists()]
    assert lost == []


@pytest.mark.parametrize("path", hooks.decisions(), ids=lambda path: path.stem)
def test_a_decision_has_its_number_and_says_what_was_decided(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# {path.stem[:4]} ")
    assert "**Decided.**" in text


def test_paths_in_code_type_exist() -> None:
    named = {
        (page.name, path)
        for page in PAGES
        for path in re.findall(r"`((?:include|plugins|dags|docs|docker|feast_repo|tests)/[\w./]*\w)`", page.read_text())
    }
    # the changelog may name what is gone, and `make compose-secrets` writes the file of secrets
    lost = {(page, path) for page, path in named if page != "CHANGELOG.md" and path != "docker/.env"}
    lost = {(page, path) for page, path in lost if not _exists(path)}
    assert lost == set()


def _exists(path: str) -> bool:
    return (generate.REPOSITORY / path).exists() or any(generate.REPOSITORY.glob(f"{path}*"))
