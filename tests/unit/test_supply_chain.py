"""The lock has a hash for every file; licences are compared; an audit that asked nobody is no audit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from supply_chain import licences, vulnerabilities
from supply_chain.licences import Rules, declared, faults

RULES = Rules(
    allowed=frozenset({"MIT", "Apache-2.0", "MPL-2.0"}),
    words={"Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0"},
    exceptions={"linter": "GPL, a program that nothing is linked with"},
)
ENTRY = re.compile(r"^[a-z0-9](?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)
LOCKS = sorted(licences.REPOSITORY.glob("requirements*.txt"))


def test_the_locks_are_these() -> None:
    """Without a name of a lock the test below would be skipped."""
    assert [lock.name for lock in LOCKS] == [
        "requirements-audit.txt", "requirements-cpu.txt", "requirements-cuda.txt", "requirements.txt",
    ]  # fmt: skip


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_package_of_the_lock_is_pinned_and_hashed(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    entries = ENTRY.findall(text)
    assert entries
    assert [
        entry for entry in entries if not re.match(r"\S+==\S+ .*--hash=sha256:[0-9a-f]{64}", entry, re.DOTALL)
    ] == []
    assert "://" not in text
    assert "--find-links" not in text


def test_both_builds_are_of_the_release_that_is_asked_for() -> None:
    wanted = re.search(r"^torch==(\S+)", (licences.REPOSITORY / "requirements.in").read_text("utf-8"), re.MULTILINE)
    assert wanted
    for build, suffix in (("cpu", r"\+cpu"), ("cuda", "")):
        text = (licences.REPOSITORY / f"requirements-{build}.txt").read_text(encoding="utf-8")
        assert re.search(rf"^torch=={re.escape(wanted[1])}{suffix} ", text, re.MULTILINE), build
        assert "\n-r requirements.txt\n" in text
    shared = (licences.REPOSITORY / "requirements.txt").read_text(encoding="utf-8")
    assert re.findall(r"^(?:torch|triton|nvidia-cu\S*)==", shared, re.MULTILINE) == []


@pytest.mark.parametrize(
    ("licence", "refused"),
    [
        ("MIT", []),
        ("MIT AND (Apache-2.0 OR MPL-2.0)", []),
        ("Mozilla Public License 2.0 (MPL 2.0)", []),
        ("MIT AND GPL-3.0", ["GPL-3.0"]),
        ("MIT OR GPL-3.0", ["GPL-3.0"]),
        ("", ["none"]),
    ],
)
def test_each_part_of_a_licence_must_be_allowed(licence: str, refused: list[str]) -> None:
    assert faults({"some": licence, "linter": "GPL-3.0"}, RULES) == [
        f"some has a licence that is not allowed: {name}" for name in refused
    ]


def test_a_licence_that_nobody_has_seen_is_refused() -> None:
    assert "not known" in faults({"absent": None, "linter": None}, RULES)[0]


def test_an_exception_for_a_package_that_is_gone_is_refused() -> None:
    assert faults({"some": "MIT"}, RULES) == ["the exception linter names no package of the lock: remove it"]


def test_the_expression_counts_before_classifiers_and_text() -> None:
    classifiers = ["License :: OSI Approved", "License :: OSI Approved :: MIT License", "Topic :: Software Development"]
    assert declared("Apache-2.0", classifiers, "BSD") == "Apache-2.0"
    assert declared(None, classifiers, "BSD") == "MIT License"
    assert declared(None, ["License :: OSI Approved"], "BSD\n\nCopyright ...") == "BSD"


def test_what_pip_audit_found_is_said() -> None:
    found = {"id": "PYSEC-1", "fix_versions": ["2.1"]}
    report = {
        "dependencies": [
            {"name": "good", "version": "1", "vulns": []},
            {"name": "bad", "version": "2", "vulns": [found]},
        ]
    }
    assert vulnerabilities.vulnerable(report) == ["bad 2: PYSEC-1, fixed in 2.1"]


def test_a_package_that_the_service_does_not_know_is_not_audited() -> None:
    report = {"dependencies": [{"name": "some", "skip_reason": "not found on PyPI"}]}
    with pytest.raises(vulnerabilities.NotAuditedError, match="1 of 1 packages were skipped; some: not found on PyPI"):
        vulnerabilities.vulnerable(report)


def test_a_service_without_advisories_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mirror of the index may answer for every package and know no vulnerability of any."""
    knows_nothing = {"dependencies": [{"name": "any", "version": "1", "vulns": []}]}
    monkeypatch.setattr(vulnerabilities, "ask", lambda *_: knows_nothing)
    with pytest.raises(vulnerabilities.NotAuditedError, match=r"pycrypto==2\.6\.1, which has several"):
        vulnerabilities.audit(["requirements.txt"], [])


def test_the_release_that_is_asked_about_first_is_not_in_the_lock() -> None:
    assert vulnerabilities.KNOWN_TO_BE_VULNERABLE.partition("==")[0] not in licences.locked()
