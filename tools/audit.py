"""Checks the deployed packages for known vulnerabilities, with pip-audit.

    python -m tools.audit                                  check requirements.txt against PyPI's advisories
    python -m tools.audit --vulnerability-service osv      arguments go to pip-audit

First, pip-audit must find a planted pin with an old vulnerability, because pip-audit reports no vulnerabilities if its service
does not answer. Exit status: 0 nothing found, 1 something found, 2 unknown.
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
    """pip-audit gives no reliable answer. The text says why in one line."""


@dataclass(frozen=True)
class Vulnerability:
    """A known vulnerability of a pinned package."""

    package: str
    version: str
    names: str
    fixed_in: str


def audit(requirements: Path, arguments: list[str]) -> list[Vulnerability]:
    """The known vulnerabilities of the pins in a file. Raises `AuditError` if a pin could not be looked up."""
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
    """Whether the audit finds the planted pin."""
    with tempfile.TemporaryDirectory() as folder:
        planted = Path(folder, "planted.txt")
        planted.write_text("==".join(PLANTED) + "\n")
        return any(known.package == PLANTED[0] for known in audit(planted, arguments))


def main(arguments: list[str]) -> int:
    try:
        if not finds_the_planted_pin(arguments):
            print(
                f"audit: pip-audit did not find the planted {'=='.join(PLANTED)}, so it is not reliable",
                file=sys.stderr,
            )
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
