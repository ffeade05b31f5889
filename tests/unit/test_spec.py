"""Specs: values only, every fault at once, and a broken one never takes the others down."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from pydantic import ValidationError

from include.core import yaml_file
from include.core.errors import SpecError, UnknownPartition
from include.core.partitions import Span
from include.core.repository import REPOSITORY
from include.core.words import nearest
from include.spec import loading
from include.spec.loading import MORE_FOLDERS, broken_use_cases, json_schema, load_use_case, load_use_cases
from include.spec.use_case import FOLDER

SHIPPED = sorted(path.stem for path in FOLDER.glob("*/*.yaml") if path.stem == path.parent.name)
FLIGHTS = FOLDER / "flights" / "flights.yaml"
SCHEMA = REPOSITORY / "include/spec/use_case.schema.json"

Write = Callable[[str, Any], Path]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a further folder of use cases."""
    monkeypatch.setenv(MORE_FOLDERS, str(tmp_path))
    return tmp_path


@pytest.fixture
def write(folder: Path) -> Write:
    """Write a spec: text as it is, or values."""

    def write_spec(name: str, content: Any) -> Path:
        path = folder / name / f"{name}.yaml"
        path.parent.mkdir()
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
        return path

    return write_spec


def values(name: str, /, **changes: Any) -> dict[str, Any]:
    """Write the flights spec under another name; a change is named as ``training__metric``."""
    found: dict[str, Any] = yaml.safe_load(FLIGHTS.read_text(encoding="utf-8")) | {"name": name}
    for path, value in changes.items():
        *groups, last = path.split("__")
        group = found
        for part in groups:
            group = group[part]
        group[last] = value
    return found


def faults(name: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_use_case(name)
    return caught.value.faults


# ---- what is shipped ----------------------------------------------------------------------------


def test_the_shipped_specs_are_sound() -> None:
    assert broken_use_cases() == []
    assert [case.name for case in load_use_cases()] == SHIPPED


def test_the_schema_for_editors_is_what_the_code_checks() -> None:
    wanted = json.dumps(json_schema(), indent=1, sort_keys=True) + "\n"
    assert SCHEMA.read_text(encoding="utf-8") == wanted, "the spec's fields changed; run `make schema`"


def test_editors_accept_the_shipped_specs_and_mark_an_unknown_name() -> None:
    validator = Draft202012Validator(json_schema())
    for name in SHIPPED:
        shipped = yaml.safe_load((FOLDER / name / f"{name}.yaml").read_text(encoding="utf-8"))
        assert [error.message for error in validator.iter_errors(shipped)] == []
    assert not validator.is_valid(values("flights", training__metrik="log_loss"))
    assert not validator.is_valid({"name": "lonely"})


# ---- faults -------------------------------------------------------------------------------------


def test_every_fault_of_a_spec_comes_at_once_with_file_field_reason_and_nearest_name(write: Write) -> None:
    write(
        "bad",
        values(
            "bad",
            time_zone="America/New_Yrok",
            period="fortnight",
            ownr="me",
            features__lookback_periods=0,
            training__metric="logloss",
            training__families={"lightgmb": {}, "logistic": {}},
            gates__metrc="log_loss",
            monitoring__drift__exclude="is_holiday",
            raw__Weather={"key": ["origin"]},
            title=None,
        ),
    )
    found = faults("bad")
    assert all(fault.startswith("bad.yaml: ") for fault in found)
    for part in (
        'time_zone "America/New_Yrok": no such time zone; did you mean "America/New_York"?',
        'period "fortnight"',
        'ownr unknown; did you mean "owner"?',
        "features.lookback_periods",
        'metric "logloss" unknown; did you mean "log_loss"?',
        'family "lightgmb" unknown; did you mean "lightgbm"?',
        'gates.metrc unknown; did you mean "metric"?',
        "monitoring.drift.exclude",
        "raw.Weather",
        "title",
    ):
        assert any(part in fault for fault in found), (part, found)
    assert len(found) == 10


def test_a_missing_value_is_named(write: Write) -> None:
    less = values("less")
    del less["owner"], less["training"]["label"]
    write("less", less)
    assert faults("less") == ["less.yaml: owner: Field required", "less.yaml: training.label: Field required"]


def test_a_wrong_name_is_reported_beside_the_other_faults(write: Write) -> None:
    write("right", values("wrong", ownr="me"))
    assert faults("right") == [
        'right.yaml: name is "wrong"; it must be that of the file and folder, "right"',
        'right.yaml: ownr unknown; did you mean "owner"?',
    ]


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"history__first": "2013-13-99"}, "2013-13-99"),
        ({"history__first": "2013-12-31", "history__last": "2013-01-01"}, "lies before first"),
        ({"history__first": 20130101}, "history.first"),
        ({"time_zone": "America"}, "no such time zone"),
        ({"time_zone": "../../../etc/passwd"}, "no such time zone"),
        ({"time_zone": ""}, "no such time zone"),
        ({"source__adapter": "os:system"}, "source.adapter"),
        ({"source__adapter": "include.use_cases.flights.source:FlightsSource\n"}, "source.adapter"),
        ({"name": "../flights"}, "name"),
        ({"name": ["flights"]}, "name"),
        ({"raw": {}}, "raw"),
        ({"training__task": "multiclass"}, "is for binary labels"),
        ({"promotion": "yolo"}, "promotion"),
        ({"like": ["flights"]}, "like"),
        ({"like": {"a": 1}}, "like"),
        ({1: "one"}, "1"),
    ],
)
def test_no_fault_escapes_as_another_error(write: Write, changes: dict[Any, Any], part: str) -> None:
    odd = values("odd", **{key: value for key, value in changes.items() if isinstance(key, str)})
    write("odd", odd | {key: value for key, value in changes.items() if not isinstance(key, str)})
    found = faults("odd")
    assert any(part in fault for fault in found), found
    assert all(fault.startswith("odd.yaml: ") for fault in found)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("name: [", "not readable as YAML"),
        ("- name", "holds list; a spec is a mapping"),
        ("", "holds NoneType"),
        ("name: !!python/object/apply:os.system [id]", "not readable as YAML"),
    ],
)
def test_a_file_that_is_no_spec_says_so(write: Write, text: str, part: str) -> None:
    write("odd", text)
    assert part in faults("odd")[0]


def test_bytes_that_are_not_text_and_a_folder_in_the_files_place(write: Write, folder: Path) -> None:
    write("odd", "").write_bytes(b"\xff\xfe\x00name")
    (folder / "dir" / "dir.yaml").mkdir(parents=True)
    assert "not readable" in faults("odd")[0]
    assert "not readable" in faults("dir")[0]


def test_a_broken_spec_leaves_the_others_alone(write: Write) -> None:
    write("bad", values("bad", ownr="me", history__first="2013-99-99"))
    write("good", values("good"))
    assert [case.name for case in load_use_cases()] == sorted([*SHIPPED, "good"])
    (broken,) = broken_use_cases()
    assert (broken.name, len(broken.error.faults)) == ("bad", 2)


def test_one_name_in_two_folders_is_a_fault_of_the_second_only(write: Write) -> None:
    path = write("flights", values("flights", title="Another"))
    assert load_use_case("flights").title != "Another"
    (broken,) = broken_use_cases()
    assert broken.error.faults == [
        f'{path}: the use case "flights" exists already, in {FLIGHTS}; give one of them another name'
    ]


def test_an_unknown_use_case_names_the_nearest() -> None:
    (fault,) = faults("flihgts")
    assert fault.startswith("use case 'flihgts' unknown; did you mean \"flights\"? Looked for <name>/<name>.yaml in /")
    assert MORE_FOLDERS in fault


# ---- like ---------------------------------------------------------------------------------------


def test_like_takes_the_values_that_are_not_given_and_merges_groups(write: Write) -> None:
    write("night", {"name": "night", "like": "flights", "training": {"trials": 3}, "tags": ["night"]})
    night, flights = load_use_case("night"), load_use_case("flights")
    assert (night.training.trials, night.training.label) == (3, flights.training.label)
    assert (night.tags, night.raw) == (("night",), flights.raw)
    assert night.assets_folder == FLIGHTS.parent
    assert night.table("raw", "weather") == "night/raw/weather"


def test_like_an_unknown_use_case_or_itself(write: Write) -> None:
    write("one", {"name": "one", "like": "flihgts"})
    write("two", {"name": "two", "like": "two"})
    assert faults("one") == ['one.yaml: like "flihgts" unknown; did you mean "flights"?']
    assert faults("two")[0].startswith('two.yaml: like "two"')


def test_like_a_use_case_that_is_itself_like_another(write: Write) -> None:
    write("third", {"name": "third", "like": "flights_live"})
    assert faults("third") == [
        'third.yaml: like "flights_live" is itself like "flights"; name that one and give what differs'
    ]


def test_like_a_broken_one_names_the_file_that_is_broken(write: Write) -> None:
    write("base", "name: [")
    write("child", {"name": "child", "like": "base"})
    assert faults("child")[0].startswith("base.yaml: not readable")


def test_what_many_are_like_is_parsed_once_and_read_anew_when_it_has_changed(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = write("base", values("base"))
    for number in range(5):
        write(f"copy_{number}", {"name": f"copy_{number}", "like": "base", "training": {"trials": 10 + number}})
    loading._parsed.cache_clear()
    parsed: list[str] = []
    parse = yaml_file.parse
    monkeypatch.setattr(yaml_file, "parse", lambda text: parsed.append(text) or parse(text))
    trials = {case.name: case.training.trials for case in load_use_cases()}
    assert parsed.count(base.read_text(encoding="utf-8")) == 1
    assert [trials[f"copy_{number}"] for number in range(5)] == [10, 11, 12, 13, 14]
    assert trials["base"] == trials["flights"]
    base.write_text(yaml.safe_dump(values("base", training__seed=7)), encoding="utf-8")
    assert {case.training.seed for case in load_use_cases() if case.name.startswith("copy_")} == {7}


# ---- values -------------------------------------------------------------------------------------


def test_a_use_case_does_not_change() -> None:
    case = load_use_case("flights")
    with pytest.raises(ValidationError):
        case.name = "other"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        case.features.lookback_periods = 1  # type: ignore[misc]


def test_keys_inside_history_come_in_order() -> None:
    case = load_use_case("flights")
    span = Span(first="2013-11-02", last="2013-11-04")
    assert case.check_span(span).keys == ("2013-11-02", "2013-11-03", "2013-11-04")


@pytest.mark.parametrize(
    ("first", "last", "part"),
    [
        ("2012-12-31", "2013-01-02", "outside the source's history 2013-01-01..2013-12-31"),
        ("2013-12-31", "2014-01-01", "outside the source's history"),
        ("2013-11-04", "2013-11-02", "ends before it begins"),
        ("2013-11-2", "2013-11-02", "write it as 2013-11-02"),
    ],
)
def test_keys_outside_history_are_refused(first: str, last: str, part: str) -> None:
    with pytest.raises(UnknownPartition, match=part):
        load_use_case("flights").check_span(Span(first=first, last=last))


def test_an_endless_history_has_no_last_key() -> None:
    live = load_use_case("flights_live")
    assert live.check_span(Span.one("2031-05-01")) == Span.one("2031-05-01")
    with pytest.raises(UnknownPartition, match=r"2013-01-01\.\.now"):
        live.check_span(Span.one("2012-12-31"))


def test_the_look_back_is_cut_off_where_history_begins() -> None:
    case = load_use_case("flights")
    assert case.lookback(Span(first="2013-01-03", last="2013-01-04")) == Span(first="2013-01-01", last="2013-01-04")
    whole = case.lookback(Span(first="2013-03-01", last="2013-03-02"))
    assert (whole.first, whole.last, len(whole.keys)) == ("2013-02-02", "2013-03-02", 29)


def test_further_folders_are_separated_as_in_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (tmp_path / name / name).mkdir(parents=True)
        text = yaml.safe_dump({"name": name, "like": "flights"})
        (tmp_path / name / name / f"{name}.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setenv(MORE_FOLDERS, os.pathsep.join([str(tmp_path / "one"), "", str(tmp_path / "two")]))
    assert [case.name for case in load_use_cases()] == sorted([*SHIPPED, "one", "two"])


@pytest.mark.parametrize("part", ["more/cases", "~nobody-has-this-name/cases"])
def test_a_folder_of_use_cases_that_cannot_be_is_reported_beside_the_sound_ones(
    monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setenv(MORE_FOLDERS, part)
    (broken,) = broken_use_cases()
    assert part in str(broken.error)
    assert "give the whole path" in str(broken.error)
    assert [case.name for case in load_use_cases()] == SHIPPED


def test_the_shipped_folder_named_again_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MORE_FOLDERS, str(FOLDER))
    assert [case.name for case in load_use_cases()] == SHIPPED


def test_null_takes_away_what_the_other_use_case_has(write: Write) -> None:
    write("less", {
        "name": "less", "like": "flights",
        "training": {"families": {"torch_mlp": None}, "baselines": None},
        "gates": {"guardrails": {"auc": None}, "slices": None, "feature_auc": None},
        "features": {"views": {"calendar": None}},
    })  # fmt: skip
    base, less = load_use_case("flights"), load_use_case("less")
    assert set(base.training.families) - set(less.training.families) == {"torch_mlp"}
    assert set(base.features.views) - set(less.features.views) == {"calendar"}
    assert (set(less.gates.guardrails), less.gates.slices, less.gates.feature_auc) == ({"calibration_error"}, {}, None)
    assert [baseline.name for baseline in less.training.baselines] == ["constant"]


def test_the_key_of_a_row_is_stated_once() -> None:
    case = load_use_case("flights")
    assert case.training.keys == list(case.predictions.key)
    assert case.training.ignore == ["ds", "event_timestamp", "label_known_at"]


def test_nearest_lists_the_known_words_when_none_is_near() -> None:
    assert nearest("zzz", ["log_loss"]) == "; known are log_loss"


def test_a_seasonal_baseline_may_not_look_ahead(write: Write) -> None:
    baseline = {"kind": "seasonal", "by": ["origin"], "periods_before": 1}
    write("ahead", values("ahead", training__baselines=[baseline], label_delay_periods=2))
    (fault,) = faults("ahead")
    assert "origin 1 periods before" in fault
    assert "looks ahead: an outcome is known 2 periods later" in fault
    write("behind", values("behind", training__baselines=[{**baseline, "periods_before": 2}], label_delay_periods=2))
    assert load_use_case("behind").training.baselines[0].name == "origin 2 periods before"
