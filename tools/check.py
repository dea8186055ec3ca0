"""`make test`: every check, and the totals of all of them in the last line.

    python -m tools.check              lint, format, imports, types, and all tests
    python -m tools.check --quickly    the same, without the tests that need a server
    python -m tools.check --no-tests   lint, format, imports and types

QUICK=1 runs what hangs on the Python version, for a second one: pure code, the worker library, the whole app over HTTP.

Lint, format and types count as one check each, every test as one. Further arguments go to pytest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TYPED = ("function_app.py", "leads", "devhost", "tools", "tests", "benchmarks")
WITHOUT_SERVER = "not server"
EVERY_PYTHON = "(not server or every_python)"
CORES = os.cpu_count() or 1
WORKERS = min(10, CORES + CORES // 2 + 2)
"""Tests wait for storage, leases and timers about as long as they compute: two or three processes keep a core busy."""
COMPUTING = min(8, CORES)
"""Processes for the tests without a server, which compute alone."""


@dataclass
class Totals:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def run(title: str, command: list[str]) -> int:
    """Run one check with its output on the terminal. Returns its exit status."""
    print(f"=== {title}", flush=True)
    started = time.monotonic()
    status = subprocess.run([sys.executable, "-m", *command], cwd=ROOT).returncode
    verdict = "FAILED" if status else "passed"
    print(f"=== {title}: {verdict} in {time.monotonic() - started:.0f} s\n", flush=True)
    return status


def run_aside(title: str, command: list[str]) -> Callable[[], int]:
    """Begin one check beside others. What is returned waits for its end, prints its output and returns its exit status."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )

    def end() -> int:
        output = process.communicate()[0]
        verdict = "FAILED" if process.returncode else "passed"
        print(f"=== {title}\n{output}=== {title}: {verdict}, beside the tests\n", flush=True)
        return process.returncode

    return end


def static_checks() -> dict[str, list[str]]:
    typed = [name for name in TYPED if (ROOT / name).exists()]
    return {
        "lint": ["ruff", "check", "."],
        "format": ["ruff", "format", "--check", "."],
        "imports": ["tools.imports"],
        "types": ["mypy", *typed],
    }


def run_tests(arguments: list[str], which: str) -> Totals:
    """The tests that a marker expression chooses, a file to a process; what measures real time is for `make soak`."""
    chosen = " and ".join(filter(None, ("not real_time", which)))
    workers = COMPUTING if which == WITHOUT_SERVER else WORKERS
    in_files = ["-n", str(workers), "--dist", "loadfile", "--no-loadscope-reorder"]
    return pytest_totals("tests", ["-m", chosen, *in_files, *arguments])


def pytest_totals(title: str, arguments: list[str]) -> Totals:
    """The counts of a run of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        status = run(title, ["pytest", "-q", f"--junitxml={report}", *arguments])
        totals = read_report(report.read_text()) if report.exists() else Totals()
    if status and not totals.failed:
        totals.failed = 1  # pytest itself failed, before or after the tests
    return totals


def read_report(text: str) -> Totals:
    """The counts of a JUnit report as pytest writes it; a test that passed and then failed to end is a failure."""
    outcomes: dict[tuple[str | None, str | None], str] = {}
    for case in ET.fromstring(text).iter("testcase"):
        key = (case.get("classname"), case.get("name"))
        if case.find("failure") is not None or case.find("error") is not None:
            outcomes[key] = "failed"
        else:
            outcomes.setdefault(key, "passed" if case.find("skipped") is None else "skipped")
    counts = Counter(outcomes.values())
    return Totals(counts["passed"], counts["failed"], counts["skipped"])


def main(arguments: list[str]) -> int:
    # Hundreds of processes are started: each would compile the same files again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["NO_PROXY"] = ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1"]))
    *quick, slowest = static_checks().items()
    results = [run(title, command) for title, command in quick]
    totals = Totals()
    if "--no-tests" in arguments:
        results.append(run(*slowest))
    else:
        end_of_slowest = run_aside(*slowest)
        quickly = "--quickly" in arguments
        which = WITHOUT_SERVER if quickly else EVERY_PYTHON if os.environ.get("QUICK", "") == "1" else ""
        totals = run_tests([argument for argument in arguments if argument != "--quickly"], which)
        results.append(end_of_slowest())
    totals += Totals(passed=results.count(0), failed=len(results) - results.count(0))
    print(totals)
    return 1 if totals.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
