"""Ask a vulnerability service about each package of the lock: ``make audit``.

pip-audit says "no known vulnerabilities" also where it could ask nobody: it skips a package that the service does not
know, and a mirror of the package index may answer without advisories. So a release with known vulnerabilities is asked
about first, and a skipped package is a failure.

Exit status: 0, nothing was found; 1, vulnerabilities; 2, not audited.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# pip-audit does not follow `-r` in a file; the CPU build of torch is the same release, by a version no service knows
LOCKS = ("requirements.txt", "requirements-cuda.txt", "requirements-audit.txt")
# has known vulnerabilities that no release will mend, because the project has ended
KNOWN_TO_BE_VULNERABLE = "pycrypto==2.6.1"


class NotAuditedError(Exception):
    """The service gave no answer that can be relied on; the text says why."""


def vulnerable(report: Mapping[str, Any]) -> list[str]:
    """Return a line for each vulnerability in a report of pip-audit.

    Raises:
        NotAuditedError: the service knew nothing of a package; names the package.
    """
    if skipped := [f"{one['name']}: {one['skip_reason']}" for one in report["dependencies"] if "skip_reason" in one]:
        raise NotAuditedError(f"{len(skipped)} of {len(report['dependencies'])} packages were skipped; {skipped[0]}")
    return [
        f"{one['name']} {one['version']}: {found['id']}, fixed in {', '.join(found['fix_versions']) or 'no release'}"
        for one in report["dependencies"]
        for found in one["vulns"]
    ]


def ask(requirements: Path, arguments: Sequence[str]) -> Mapping[str, Any]:
    """Return pip-audit's report on the pinned packages of one file.

    Raises:
        NotAuditedError: pip-audit wrote none; holds its last line.
    """
    with tempfile.TemporaryDirectory(prefix="audit-") as folder:
        report = Path(folder) / "report.json"
        program = [sys.executable, "-m", "pip_audit", "--disable-pip", "--no-deps", "--progress-spinner", "off"]
        program += ["--format", "json", "--output", str(report), "--requirement", str(requirements)]
        done = subprocess.run([*program, *arguments], capture_output=True, encoding="utf-8", check=False)
        if not report.exists():
            raise NotAuditedError((done.stderr.strip() or f"pip-audit ended with {done.returncode}").splitlines()[-1])
        read: Mapping[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        return read


def audit(locks: Sequence[str], arguments: Sequence[str]) -> list[str]:
    """Return a line for each vulnerability of the packages that these lock files pin.

    Raises:
        NotAuditedError: the service could not be reached, does not know a package, or has no advisories.
    """
    with tempfile.TemporaryDirectory(prefix="audit-") as folder:
        known = Path(folder) / "known.txt"
        known.write_text(f"{KNOWN_TO_BE_VULNERABLE}\n", encoding="utf-8")
        if not vulnerable(ask(known, arguments)):
            raise NotAuditedError(f"the service knows no vulnerability of {KNOWN_TO_BE_VULNERABLE}, which has several")
    return sorted({line for lock in locks for line in vulnerable(ask(Path(lock), arguments))})


def main() -> int:
    """Audit the lock; arguments go to pip-audit."""
    try:
        found = audit(LOCKS, sys.argv[1:])
    except NotAuditedError as error:
        sys.stderr.write(
            f"not audited: {error}\nrun it where the Python package index itself can be reached, or ask another "
            'service: make audit ARGS="--vulnerability-service osv"\n'
        )
        return 2
    sys.stdout.write("\n".join(found) + "\n" if found else "audited: no known vulnerabilities\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
