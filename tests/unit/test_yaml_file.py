"""YAML means the same to a person and to the program: a value stands as written, or it is refused with its line."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from include.core import yaml_file
from include.core.errors import SpecError
from include.core.repository import REPOSITORY
from include.quality.suites import load_suite
from include.spec.loading import MORE_FOLDERS, load_use_case

SUITE = """\
table: tiny
key: [id]
columns: {ds: VARCHAR, id: BIGINT, carrier: VARCHAR, rate: DOUBLE}
expectations:
  - type: expect_column_values_to_be_in_set
    kwargs: {column: carrier, value_set: [NO, SE]}
    severity: critical
    why: the two countries
"""


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("[NO, SE, no, yes, Yes, on, OFF, y, n]", ["NO", "SE", "no", "yes", "Yes", "on", "OFF", "y", "n"]),
        ("[true, False, TRUE, null, ~, Null]", [True, False, True, None, None, None]),
        ("[0, 10, -7, +7, 0x1F, 0o14]", [0, 10, -7, 7, 31, 12]),
        ("[0.5, 0.01, .5, 1., 1e-3, 1E5, -2.5e+7]", [0.5, 0.01, 0.5, 1.0, 0.001, 100000.0, -2.5e7]),
        ("[.inf, -.inf]", [float("inf"), float("-inf")]),
        ("[1:30, 190:20:30, 12:30:45.5]", ["1:30", "190:20:30", "12:30:45.5"]),
        ("[2013-01-01, 2013-01-01T05, 2001-12-14 21:59:43]", ["2013-01-01", "2013-01-01T05", "2001-12-14 21:59:43"]),
        (
            "['010', \"012\", '1_000', 010a, 9E, 0A, =, 1.2.3]",
            ["010", "012", "1_000", "010a", "9E", "0A", "=", "1.2.3"],
        ),
        ("{no: 1, on: 2, base: &b {x: 1, y: 2}, more: {<<: *b, y: 3}}", None),
    ],
)
def test_a_value_is_as_written(written: str, value: Any) -> None:
    """C08: words, times and dates are text, numbers are decimal."""
    expected = {"no": 1, "on": 2, "base": {"x": 1, "y": 2}, "more": {"x": 1, "y": 3}} if value is None else value
    found = yaml_file.parse(written)
    assert found == expected
    if isinstance(found, list):
        assert [type(one) for one in found] == [type(one) for one in expected]


@pytest.mark.parametrize(
    "scalar", ["010", "012", "00", "-007", "+01", "1_000", "0_1", "01.5", "1_0.5", "0b11", "08", "0x_1F", "1_2e3"]
)
def test_a_number_of_two_readings_is_refused(scalar: str) -> None:
    """C08: 012 is ten, twelve or text, depending on the reader."""
    with pytest.raises(yaml.YAMLError, match=r"line 2, column 6: .* quote it") as error:
        yaml_file.parse(f"a: 1\nb: [ {scalar} ]")
    assert f'"{scalar}"' in str(error.value)


@pytest.mark.parametrize(
    "text",
    ["gates: {}\ntrials: 3\ngates: {}", "a:\n  - {x: 1,\n x: 2}", "1: a\n1.0: b\n2: c", "gates: {}\n'gates': {}"],
)
def test_a_key_twice_is_refused(text: str) -> None:
    """C08: the first of two values under one key would be dropped without a word."""
    with pytest.raises(yaml.YAMLError, match=r"line [23], column \d: .* twice: already in line [12]"):
        yaml_file.parse(text)


def test_a_key_that_is_no_value_is_refused() -> None:
    with pytest.raises(yaml.YAMLError, match="line 1"):
        yaml_file.parse("{[1, 2]: 3}")


def test_broken_syntax_names_its_line() -> None:
    with pytest.raises(yaml.YAMLError, match=r"line 2, column 4: .*did not find"):
        yaml_file.parse("a: 1\nb: ]\n")


def test_the_files_that_ship_mean_the_same_to_every_reader() -> None:
    """C08: editors and other tools read YAML 1.1; in our files no value depends on that."""
    listed = subprocess.run(
        ["git", "ls-files", "*.yaml", "*.yml"], cwd=REPOSITORY, capture_output=True, encoding="utf-8", check=True
    )
    files = [Path(REPOSITORY / name) for name in listed.stdout.split("\n") if name and name != "mkdocs.yml"]
    assert files
    for file in files:
        text = file.read_text(encoding="utf-8")
        # the workflows' key `on` is the one exception, and GitHub reads it as we do
        assert yaml_file.parse(text.replace("\non:", '\n"on":')) == yaml.safe_load(text.replace("\non:", '\n"on":'))


def test_a_suite_takes_words_and_refuses_keys_given_twice(tmp_path: Path) -> None:
    """C08: `expectations:` twice in a suite dropped every check of the first."""
    file = tmp_path / "suites" / "tiny.yaml"
    file.parent.mkdir()
    file.write_text(SUITE, encoding="utf-8")
    assert load_suite(file).expectations[0].kwargs["value_set"] == ["NO", "SE"]
    file.write_text(SUITE + "expectations: []\n", encoding="utf-8")
    with pytest.raises(SpecError, match=r"suites/tiny.yaml: .*line 9, column 1: expectations .*twice.* line 4"):
        load_suite(file)
    file.write_text(SUITE.replace("[NO, SE]", "[010, 011]"), encoding="utf-8")
    with pytest.raises(SpecError, match=r'suites/tiny.yaml: .*line 6, column 43: 010 .* quote it: "010"'):
        load_suite(file)


def test_a_spec_refuses_octal_numbers_and_keys_given_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C08: `trials: 012` was ten trials, and of two `gates:` the stricter one was dropped."""
    monkeypatch.setenv(MORE_FOLDERS, str(tmp_path))
    file = tmp_path / "odd" / "odd.yaml"
    file.parent.mkdir()
    file.write_text("name: odd\nlike: flights\ntraining: {trials: 012}\n", encoding="utf-8")
    with pytest.raises(SpecError, match=r"odd.yaml: .*line 3, column 20: 012 .*quote it"):
        load_use_case("odd")
    file.write_text("name: odd\nlike: flights\ngates: {}\ntitle: Odd\ngates: {}\n", encoding="utf-8")
    with pytest.raises(SpecError, match=r"odd.yaml: .*line 5, column 1: gates .*twice.* line 3"):
        load_use_case("odd")
