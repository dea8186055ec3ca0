"""Looks whether anything that is deployed has a known vulnerability, with pip-audit.

    python -m tools.audit                      ask PyPI's advisories about requirements.txt
    python -m tools.audit --vulnerability-service osv      arguments go to pip-audit

First a planted pin, which has been vulnerable for years, has to be found: an auditor whose service does not answer calls
everything fine, and is not believed. Exit status: 0 nothing found, 1 something found, 2 it can't be told.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PLANTED: Final = ("urllib3", "1.24.1")
"""CVE-2019-11324 and more, fixed in 1.24.2."""
CLEAN, FOUND, UNKNOWN = 0, 1, 2


class AuditError(Exception):
    """pip-audit gives no answer that can be believed. The text says why in one line."""


@dataclass(frozen=True)
class Vulnerability:
    """What is known about a pinned package."""

    package: str
    version: str
    names: str
    fixed_in: str


def audit(requirements: Path, arguments: list[str]) -> list[Vulnerability]:
    """What is known about the pins of a file. Raises `AuditError` where one of them could not be looked up."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "pip_audit", "-r", str(requirements), "--disable-pip", "--no-deps"]
        command += ["--progress-spinner", "off", "--format", "json", "--output", str(report), *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        if not report.exists():
            last = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
            raise AuditError(f"pip-audit has failed: {last}")
        found = json.loads(report.read_text())["dependencies"]
    if not found:
        raise AuditError(f"pip-audit has looked at nothing in {requirements.name}")
    for package in found:
        if reason := package.get("skip_reason"):
            raise AuditError(f"pip-audit could not look up {package['name']}: {reason}")
    return [
        Vulnerability(
            package["name"],
            package["version"],
            ", ".join([known["id"], *known["aliases"]]),
            ", ".join(known["fix_versions"]) or "no version yet",
        )
        for package in found
        for known in package["vulns"]
    ]


def finds_the_planted_pin(arguments: list[str]) -> bool:
    """Whether the audit finds what it has to find."""
    with tempfile.TemporaryDirectory() as folder:
        planted = Path(folder, "planted.txt")
        planted.write_text("==".join(PLANTED) + "\n")
        return any(known.package == PLANTED[0] for known in audit(planted, arguments))


def main(arguments: list[str]) -> int:
    try:
        if not finds_the_planted_pin(arguments):
            print(f"audit: the planted {'=='.join(PLANTED)} was not found, so nothing else would be", file=sys.stderr)
            return UNKNOWN
        found = audit(ROOT / "requirements.txt", arguments)
    except AuditError as error:
        print(f"audit: {error}", file=sys.stderr)
        return UNKNOWN
    for known in found:
        print(f"{known.package} {known.version}: {known.names}; fixed in {known.fixed_in}")
    print(f"audit: the planted pin was found; known of requirements.txt: {len(found)}")
    return FOUND if found else CLEAN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
