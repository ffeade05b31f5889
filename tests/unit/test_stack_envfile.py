"""Tests of KEY=VALUE files: parsing, references, refusals."""

from __future__ import annotations

import pytest

from include.core.errors import SettingsError
from include.stack.envfile import parse_env


def test_references_are_filled_in_and_comments_skipped() -> None:
    text = "# a comment\n\nROOT=${HOME_FOLDER}/lake\nURL=http://${HOST}:${PORT}/a=b\n"
    found = parse_env(text, "x.env", {"HOME_FOLDER": "/srv", "HOST": "127.0.0.1", "PORT": "8080"})
    assert found == {"ROOT": "/srv/lake", "URL": "http://127.0.0.1:8080/a=b"}


def test_without_values_references_stay() -> None:
    assert parse_env("A=${B}", "x.env") == {"A": "${B}"}


def test_every_fault_is_named_with_its_line() -> None:
    with pytest.raises(SettingsError) as caught:
        parse_env("A=${NOBODY}\nnot a setting\nB=${NEITHER}", "x.env", {})
    assert str(caught.value) == (
        "x.env:1: ${NOBODY} is not defined; x.env:2: 'not a setting' is not KEY=VALUE; "
        "x.env:3: ${NEITHER} is not defined"
    )


def test_a_setting_given_twice_is_refused() -> None:
    """C08: the first of two values under one name would be dropped without a word."""
    with pytest.raises(SettingsError, match=r"x\.env:3: A is given in line 1 already; delete one of the two"):
        parse_env("A=1\nB=2\nA=3", "x.env")
