"""What help at a shell takes, beside the same with every command imported."""

import os
import subprocess
import sys
from collections.abc import Callable

from benchmarks.effort import Effort
from benchmarks.report import Result, Target, compared_result
from benchmarks.rounds import compare
from devhost.process import ROOT

HELP = "from leads.cli import main; main(['--help'])"
EVERYTHING = f"from leads.cli.program import COMMANDS, load; [load(name) for name in COMMANDS]; {HELP}"
TIMED = """\
import sys, time
cpu = time.process_time()
{code}
print((time.process_time() - cpu) * 1000, file=sys.stderr)
"""


def measure(effort: Effort, tell: Callable[[str], None]) -> list[Result]:
    """One row."""
    _taken_by(EVERYTHING)  # writes the compiled files and fills the page cache
    (cpu,) = compare(lambda: [_taken_by(HELP)], lambda: [_taken_by(EVERYTHING)], effort, tell)
    return [compared_result("leads --help, ms of CPU", cpu, Target("≤", 0.4))]


def _taken_by(code: str) -> float:
    """Milliseconds of processor time in a fresh interpreter."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", TIMED.format(code=code)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return float(done.stderr)
