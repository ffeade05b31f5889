"""Property tests do not depend on the machine's load: one profile, which no test overrules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from include.core.repository import REPOSITORY

TESTS = REPOSITORY / "tests"


def test_nothing_that_measures_time_can_fail_a_property_test() -> None:
    assert settings.default.deadline is None
    assert HealthCheck.too_slow in settings.default.suppress_health_check


def test_no_test_sets_a_deadline_or_brings_the_check_back() -> None:
    for path in sorted(TESTS.rglob("test_*.py")):
        if path != Path(__file__):
            text = path.read_text(encoding="utf-8")
            assert "deadline=" not in text, path
            assert "suppress_health_check" not in text or "HealthCheck.too_slow" in text, path


@pytest.mark.parametrize(("ci", "derandomized"), [("true", True), ("", False)])
def test_continuous_integration_tries_the_same_examples(ci: str, derandomized: bool) -> None:
    code = "import tests.conftest; from hypothesis import settings; print(settings.default.derandomize)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env={"PATH": "/usr/bin:/bin", "CI": ci},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(derandomized)
