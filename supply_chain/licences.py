"""Compare the licence of each package of the lock with the list of allowed ones, ``licences.toml``.

``make lint`` fails where a package has another licence and no exception; ``make licences`` lists all of them.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
LOCKS = ("requirements.txt", "requirements-cpu.txt", "requirements-cuda.txt")
_PINNED = re.compile(r"^([a-z0-9][a-z0-9.-]*)==([^ ;\\]+)", re.MULTILINE)
_CLASSIFIER = re.compile(r"^License :: (?:OSI Approved :: )?(?!OSI Approved$)(.+)$")


@dataclass(frozen=True)
class Rules:
    """What is allowed.

    Attributes:
        allowed: SPDX identifiers.
        words: SPDX identifier of what packages write that predate SPDX expressions.
        exceptions: why a package is let in, by its name.
    """

    allowed: frozenset[str]
    words: Mapping[str, str]
    exceptions: Mapping[str, str]


def rules(path: Path = REPOSITORY / "supply_chain" / "licences.toml") -> Rules:
    """Read the list of allowed licences."""
    read = tomllib.loads(path.read_text(encoding="utf-8"))
    exceptions = {name: group["reason"] for group in read["exceptions"] for name in group["packages"]}
    return Rules(frozenset(read["allowed"]), read["words"], exceptions)


def locked() -> dict[str, str]:
    """Return the version of each package that the lock names; of torch, the CUDA build's."""
    texts = [(REPOSITORY / name).read_text(encoding="utf-8") for name in LOCKS]
    return {name: version for text in texts for name, version in sorted(_PINNED.findall(text))}


def declared(expression: str | None, classifiers: Sequence[str], text: str | None) -> str:
    """Return the licence that metadata declare: the SPDX expression, else classifiers, else the first line of text."""
    named = [found.group(1) for line in classifiers if (found := _CLASSIFIER.match(line))]
    return expression or " AND ".join(named) or (text or "").strip().split("\n")[0]


def licence_of(package: str) -> str | None:
    """Return the declared licence of an installed package; None where it is not installed."""
    try:
        about = metadata(package)
    except PackageNotFoundError:
        return None
    expression, text = (next(iter(about.get_all(field) or []), None) for field in ("License-Expression", "License"))
    return declared(expression, about.get_all("Classifier") or [], text)


def not_allowed(licence: str, rule: Rules) -> list[str]:
    """Return what a licence names and the rules do not allow. Each side of an OR must be allowed, too."""
    parts = [rule.words.get(part, part.strip(" ()")) for part in re.split(r" AND | OR ", licence)]
    return [part for part in parts if part not in rule.allowed]


def faults(licences: Mapping[str, str | None], rule: Rules) -> list[str]:
    """Return a sentence for each package that may not be in the lock, and for each exception that nothing needs.

    Args:
        licences: declared licence by package of the lock; None where it is not installed.
        rule: what is allowed.
    """
    unused = rule.exceptions.keys() - licences
    said = [f"the exception {name} names no package of the lock: remove it" for name in sorted(unused)]
    for package in sorted(licences.keys() - rule.exceptions.keys()):
        licence = licences[package]
        if licence is None:
            said.append(f"{package} is in the lock and not installed, so its licence is not known")
        elif refused := not_allowed(licence, rule):
            said.append(f"{package} has a licence that is not allowed: {', '.join(refused).strip() or 'none'}")
    return said


def page() -> str:
    """Return the reference page: allowed licences, exceptions with their reasons, every package."""
    rule = rules()
    text = "# Licences\n\nOf every package of the lock, as its metadata declare it. `make lint` refuses others.\n\n"
    text += f"Allowed: {', '.join(sorted(rule.allowed))}.\n\n## Exceptions\n\n| package | reason |\n|---|---|\n"
    for why in dict.fromkeys(rule.exceptions.values()):
        names = ", ".join(f"`{name}`" for name, reason in rule.exceptions.items() if reason == why)
        text += f"| {names} | {why} |\n"
    text += "\n## Packages\n\n| package | version | licence |\n|---|---|---|\n"
    for name, version in sorted(locked().items()):
        licence = "an exception" if name in rule.exceptions else licence_of(name) or "not installed"
        text += f"| `{name}` | {version} | {licence} |\n"
    return text


def main() -> int:
    """Print every fault, or with ``--list`` every package; return 1 where there is a fault."""
    licences, rule = {name: licence_of(name) for name in locked()}, rules()
    if "--list" in sys.argv[1:]:
        sys.stdout.write(page())
    wrong = faults(licences, rule)
    if wrong:
        said = "\n".join(wrong)
        sys.stderr.write(
            f"{said}\nallow the licence in supply_chain/licences.toml, or name the package there with the reason, "
            "or take it out of requirements.in\n"
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
